//! Clients that count: what was completely sent is answered, through ends, hot restarts, upgrades and deaths.
//!
//! The built binary serves, under load from clients that keep their connections, clients that open one for each
//! request, uploads and downloads that are in flight at the moment of the signal.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;
mod lossless_support;

use std::time::{Duration, Instant};

use cli_support::{Ringway, children, ringway, skip};
use lossless_support::{Load, Sums};
use ringway::driver::uring;

/// What serves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Served {
    Native,
    Flask,
}

fn start(served: Served, io: &str, flags: &[&str]) -> Ringway {
    let mut arguments = vec!["--bind", "127.0.0.1:0", "--workers", "2", "--io", io, "--body-max", "16M"];
    match served {
        Served::Native => {
            arguments.extend(["--isolate", "processes", "--mount", "/=hello:app", "--mount", "/echo=echo:app"])
        }
        Served::Flask => arguments.extend([
            "--pythonpath",
            concat!(env!("CARGO_MANIFEST_DIR"), "/examples/wsgi:", env!("CARGO_MANIFEST_DIR"), "/tests/wsgi"),
            "--mount",
            "/=flaskapp:app",
            "--mount",
            "/echo=wire_apps:echo",
        ]),
    }
    arguments.extend(flags);
    Ringway::spawn(&mut ringway(&arguments))
}

/// Runs a test for what is served on the drivers that there are.
fn on_each(name: &str, test: fn(Served, &str)) {
    let has_flask = cfg!(feature = "wsgi") && has_flask();
    let mut was_flask_tested = false;
    for io in ["uring", "epoll"] {
        if io == "uring" && uring::probe().is_err() {
            skip(&format!("{name}, on uring"), "io_uring is refused");
            continue;
        }
        println!("{name}: native, {io}");
        test(Served::Native, io);
        // What differs between the drivers is below the application; the long run has both.
        if std::mem::replace(&mut was_flask_tested, true) && !is_long() {
            continue;
        }
        if has_flask {
            println!("{name}: Flask, {io}");
            test(Served::Flask, io);
        } else {
            skip(&format!("{name}, Flask, {io}"), "Flask is not installed, or the build has no Python");
        }
    }
}

fn is_long() -> bool {
    std::env::var("RINGWAY_LONG").is_ok_and(|value| value == "1")
}

fn has_flask() -> bool {
    let directory = std::env::var("VIRTUAL_ENV").unwrap_or_default();
    let mut command = std::process::Command::new(format!("{directory}/bin/python"));
    command.args(["-c", "import flask"]).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Sends a signal, and waits for the line that says that it was acted on.
fn signal(server: &mut Ringway, signal: libc::c_int, line: &str) {
    server.signal(signal);
    server.line_with(line);
}

fn assert_whole(sums: Sums) {
    println!("{sums:?}");
    assert_eq!(sums.sent, sums.answered, "requests completely sent, and answers: {sums:?}");
    assert!(sums.sent > 100, "there was load: {sums:?}");
    assert_eq!(sums.torn, 0, "answers that end too early: {sums:?}");
}

#[test]
fn an_end_loses_nothing() {
    on_each("an_end_loses_nothing", |served, io| {
        let server = start(served, io, &[]);
        let load = Load::start(server.port());
        load.amid_transfers(|| server.signal(libc::SIGTERM));
        let sums = load.end_when_refused();
        let ended = server.wait();
        assert_whole(sums);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    });
}

#[test]
fn hot_restarts_lose_nothing() {
    on_each("hot_restarts_lose_nothing", |served, io| {
        let mut server = start(served, io, &[]);
        let load = Load::start(server.port());
        // Flask takes half a second each time to be imported.
        for _ in 0..if served == Served::Native || is_long() { 10 } else { 3 } {
            load.amid_transfers(|| signal(&mut server, libc::SIGHUP, "started anew"));
        }
        let sums = load.end();
        assert_whole(sums);
        assert_eq!(server.terminate().code, Some(0));
    });
}

#[test]
fn an_upgrade_in_place_loses_nothing() {
    on_each("an_upgrade_in_place_loses_nothing", |served, io| {
        let mut server = start(served, io, &[]);
        let id = server.id();
        let load = Load::start(server.port());
        load.amid_transfers(|| signal(&mut server, libc::SIGUSR2, "this process was replaced"));
        // The one that came is a supervisor like the one that went.
        load.amid_transfers(|| signal(&mut server, libc::SIGHUP, "started anew"));
        let sums = load.end();
        assert_whole(sums);
        assert_eq!(server.id(), id);
        assert_eq!(server.terminate().code, Some(0));
    });
}

#[test]
fn processes_that_are_spent_are_replaced_without_loss() {
    on_each("processes_that_are_spent_are_replaced_without_loss", |served, io| {
        let server = start(served, io, &["--max-requests", "300"]);
        let before = children(server.id());
        let load = Load::start(server.port());
        let until = Instant::now() + Duration::from_secs(30);
        while children(server.id()).iter().any(|child| before.contains(child)) {
            assert!(Instant::now() < until, "a process that has served 300 requests is still there");
            std::thread::yield_now();
        }
        let sums = load.end();
        assert_whole(sums);
        let ended = server.terminate();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    });
}

#[test]
fn a_killed_child_is_back_within_a_second_and_costs_its_own_connections() {
    on_each("a_killed_child_is_back_within_a_second", |served, io| {
        let mut server = start(served, io, &[]);
        let load = Load::start(server.port());
        load.amid_transfers(|| {
            let before = children(server.id());
            let began = Instant::now();
            cli_support::kill(before[0]);
            let line = server.line_with("it is started again");
            assert!(line.contains("SIGKILL"), "{line}");
            let is_back = |now: &[i32]| now.len() == before.len() && !now.contains(&before[0]);
            while !is_back(&children(server.id())) || server.get("/").is_empty() {
                assert!(began.elapsed() < Duration::from_secs(1), "it is not back within a second");
            }
            println!("back after {:?}", began.elapsed());
        });
        let sums = load.end();
        println!("{sums:?}");
        // Each connection has one request at most on its way.
        let lost = sums.sent - sums.answered;
        assert!(lost + sums.torn <= Load::CONNECTION_COUNT, "{sums:?}");
        assert!(sums.answered > 100, "{sums:?}");
        assert_eq!(server.terminate().code, Some(0));
    });
}
