//! The command line as a user meets it: every message, every exit code, with the built binary.
//!
//! Nothing sleeps: a test waits for the banner, for a response or for the process. A test that cannot run
//! here says so on stderr and returns.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use cli_support::{Ringway, clean, ringway, run, skip};

#[test]
fn no_argument_shows_what_to_give() {
    let ended = run(&mut ringway(&[]));
    assert_eq!(ended.code, Some(2));
    assert_eq!(ended.stderr.lines().next(), Some("Provide an application object as module:callable"));
    assert!(ended.stderr.contains("Usage: ringway"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hello:app"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

/// A program with an application of its own, which is an example here.
#[test]
fn a_lone_application_is_served_without_its_name() {
    let example = Path::new(env!("CARGO_BIN_EXE_ringway")).with_file_name("examples").join("hello");
    if !example.exists() {
        return skip("a lone application", "examples/hello is not built; `cargo build --examples` builds it");
    }
    for arguments in [&["--bind", "127.0.0.1:0"][..], &["mine:app", "--bind", "127.0.0.1:0"]] {
        let server = Ringway::spawn(clean(Command::new(&example).args(arguments)));
        assert!(server.banner.contains(": mine:app on http://"), "{}", server.banner);
        assert!(server.get("/path").ends_with("\r\n\r\n/path"));
        assert_eq!(server.terminate().code, Some(0));
    }
    let mistyped = run(clean(Command::new(&example).arg("hello:app")));
    assert_eq!(mistyped.code, Some(4), "{}", mistyped.stderr);
}

#[test]
fn an_unknown_app_has_near_matches() {
    let ended = run(&mut ringway(&["helo:app"]));
    assert_eq!(ended.code, Some(4));
    assert_eq!(
        ended.stderr,
        "ringway: No application `helo:app` is linked. Did you mean hello:app? See `ringway apps`.\n"
    );
    let mounted = run(&mut ringway(&["--mount", "/=nothing:like-it"]));
    assert_eq!(mounted.code, Some(4));
    assert_eq!(mounted.stderr.lines().count(), 1);
}

#[test]
fn bad_flags_and_addresses_are_usage_errors() {
    for arguments in [
        &["hello:app", "--nonsense"][..],
        &["hello:app", "--bind", "127.0.0.1"],
        &["hello:app", "--bind", "127.0.0.1:99999"],
        &["hello:app", "--bind", "::1:80"],
        &["hello:app", "--workers", "0"],
        &["hello:app", "--workers", "many"],
        &["hello:app", "--io", "kqueue"],
        &["hello:app", "--pin", "on"],
        &["hello:app", "--graceful-timeout", "soon"],
        &["hello:app", "--head-max", "1M"],
        &["hello:app", "--connections-max", "0"],
        &["--mount", "api=echo:app"],
    ] {
        let ended = run(&mut ringway(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
    for (name, value) in [("PORT", "http"), ("WEB_CONCURRENCY", "all"), ("RINGWAY_IO", "kqueue")] {
        let ended = run(ringway(&["hello:app"]).env(name, value));
        assert_eq!(ended.code, Some(2), "{name}");
        assert!(ended.stderr.contains(value), "{}", ended.stderr);
    }
}

#[test]
fn help_and_version_are_data() {
    let help = run(&mut ringway(&["--help"]));
    assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""));
    for name in ["RINGWAY_BIND", "RINGWAY_WORKERS", "RINGWAY_IO", "RINGWAY_BODY_MAX", "RINGWAY_GRACEFUL_TIMEOUT"] {
        assert!(help.stdout.contains(name), "{name}");
    }
    let version = run(&mut ringway(&["--version"]));
    assert_eq!((version.code, version.stdout.as_str()), (Some(0), "ringway 0.1.0\n"));
}

#[test]
fn nothing_is_coloured_where_colours_are_not_wanted() {
    let ended = run(ringway(&["hello:app", "--nonsense"]).env("NO_COLOR", "1"));
    assert!(!ended.stderr.contains('\x1b'), "{}", ended.stderr);
}

#[test]
fn apps_are_listed_on_stdout() {
    let ended = run(ringway(&["apps"]).env("RINGWAY_WORKERS", "2").env("RINGWAY_APP", "hello:app"));
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let names: Vec<_> = ended.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["hello:app", "hello:json", "echo:app", "environ:app"]);
}

#[test]
fn the_doctor_reports() {
    let ended = run(&mut ringway(&["doctor", "--workers", "3"]));
    let is_usable = ended.stdout.lines().any(|line| line.starts_with("io_uring") && line.ends_with(" usable"));
    assert_eq!(ended.code, Some(if is_usable { 0 } else { 1 }), "{}", ended.stdout);
    for name in [
        "kernel ",
        "kernel.io_uring_disabled",
        "locked memory",
        "descriptors",
        "net.core.somaxconn",
        "processors",
        "--io auto takes",
        "workers                   3",
        "memory at most",
    ] {
        assert!(ended.stdout.contains(name), "{name}: {}", ended.stdout);
    }
    assert_eq!(ended.stderr, "");
}

#[test]
fn the_banner_has_app_address_workers_and_driver() {
    let server = Ringway::start(&["hello:app", "--bind", "127.0.0.1:0", "--workers", "2", "--io", "epoll"]);
    let port = server.port();
    assert_eq!(server.banner, format!("ringway 0.1.0: hello:app on http://127.0.0.1:{port} (2 workers, epoll)"));
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn io_uring_serves_where_it_is_usable() {
    if run(&mut ringway(&["doctor"])).code != Some(0) {
        return skip("io_uring_serves_where_it_is_usable", "io_uring is not usable here");
    }
    let server = Ringway::start(&["hello:app", "--bind", "127.0.0.1:0", "--workers", "1", "--io", "uring"]);
    assert!(server.banner.ends_with("(1 worker, io_uring)"), "{}", server.banner);
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn several_binds_and_mounts_are_shown_and_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ringway.sock");
    let unix = format!("unix:{}", path.display());
    let server = Ringway::start(&[
        "--mount",
        "/api=echo:app",
        "--mount",
        "/=hello:app",
        "--bind",
        "127.0.0.1:0",
        "--bind",
        &unix,
    ]);
    assert!(server.banner.contains(": /api=echo:app /=hello:app on http://127.0.0.1:"), "{}", server.banner);
    assert!(server.banner.contains(&format!(", {unix} (")), "{}", server.banner);
    assert!(server.get("/").ends_with("Hello, World!"));
    assert!(server.get("/api/x").contains("GET /api/x HTTP/1.1"));
    let mut stream = UnixStream::connect(&path).expect("the unix socket listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.ends_with("Hello, World!"), "{answer}");
    assert_eq!(server.terminate().code, Some(0));
    assert!(!path.exists(), "the socket file is removed");
}

#[test]
fn variables_stand_in_for_flags() {
    let mut command = ringway(&[]);
    command.env("RINGWAY_APP", "hello:app").env("PORT", "0").env("WEB_CONCURRENCY", "3");
    let server = Ringway::spawn(&mut command);
    assert!(server.banner.contains("hello:app on http://0.0.0.0:"), "{}", server.banner);
    assert!(server.banner.contains("(3 workers, "), "{}", server.banner);
    assert_eq!(server.terminate().code, Some(0));
    let mut command = ringway(&["hello:app", "--workers", "1"]);
    command.env("RINGWAY_BIND", "127.0.0.1:0,[::1]:0").env("PORT", "1").env("WEB_CONCURRENCY", "3");
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("variables_stand_in_for_flags (second half)", "there is no IPv6 here");
    }
    let server = Ringway::spawn(&mut command);
    assert!(server.banner.contains(", http://[::1]:"), "{}", server.banner);
    assert!(server.banner.contains("(1 worker, "), "{}", server.banner);
}

#[test]
fn a_taken_port_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let ended = run(&mut ringway(&["hello:app", "--bind", &address]));
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "ringway: cannot listen on {address}: the address is in use; stop the other server or choose another address\n"
        )
    );
}

#[test]
fn another_ringway_counts_as_taken() {
    let server = Ringway::start(&["hello:app", "--bind", "127.0.0.1:0", "--workers", "2"]);
    let address = format!("127.0.0.1:{}", server.port());
    let ended = run(&mut ringway(&["hello:app", "--bind", &address]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the address is in use"), "{}", ended.stderr);
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn a_foreign_address_is_one_line() {
    let ended = run(&mut ringway(&["hello:app", "--bind", "192.0.2.1:8080"]));
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("192.0.2.1:8080: this machine does not have the address"), "{}", ended.stderr);
}

#[test]
fn a_privileged_port_is_one_line() {
    const NAME: &str = "a_privileged_port_is_one_line";
    let first = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    if first.trim().parse::<u16>().is_ok_and(|first| first <= 81) {
        return skip(NAME, "port 81 is not privileged here");
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]);
    let Ok(probe) = command.arg("true").output() else { return skip(NAME, "setpriv is not installed") };
    if !probe.status.success() {
        return skip(NAME, "setpriv may not drop capabilities");
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]);
    command.args([env!("CARGO_BIN_EXE_ringway"), "hello:app", "--bind", "127.0.0.1:81"]);
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("127.0.0.1:81: permission denied; ports below 1024"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1);
}

#[test]
fn unix_sockets_are_replaced_when_stale_and_respected_when_live() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let unix = format!("unix:{}", path.display());
    let live = UnixListener::bind(&path).expect("a unix socket");
    let ended = run(&mut ringway(&["hello:app", "--bind", &unix]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the address is in use"), "{}", ended.stderr);
    assert!(path.exists());
    drop(live);
    let server = Ringway::start(&["hello:app", "--bind", &unix, "--workers", "2"]);
    UnixStream::connect(&path).expect("the stale socket was replaced");
    assert_eq!(server.terminate().code, Some(0));
    std::fs::write(&path, "precious").expect("a file");
    let ended = run(&mut ringway(&["hello:app", "--bind", &unix]));
    assert_eq!(ended.code, Some(1));
    assert_eq!(std::fs::read_to_string(&path).expect("the file is left alone"), "precious");
}

#[test]
fn an_inherited_descriptor_is_served_and_others_are_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    for workers in ["1", "2"] {
        let mut command = ringway(&["hello:app", "--bind", "fd://9", "--workers", workers]);
        cli_support::inherit(&mut command, &listener, 9);
        let server = Ringway::spawn(&mut command);
        assert!(server.banner.contains(&format!("http://{address}")), "{}", server.banner);
        assert!(server.get("/").ends_with("Hello, World!"));
        assert_eq!(server.terminate().code, Some(0));
    }
    let closed = run(&mut ringway(&["hello:app", "--bind", "fd://99"]));
    assert_eq!(closed.code, Some(1));
    assert!(closed.stderr.contains("fd://99: no such descriptor"), "{}", closed.stderr);
    let pipe = run(&mut ringway(&["hello:app", "--bind", "fd://1"]));
    assert_eq!(pipe.code, Some(1));
    assert!(pipe.stderr.contains("fd://1: it is no socket"), "{}", pipe.stderr);
}

#[test]
fn without_a_supervisor_hangup_is_ignored_and_the_first_interrupt_drains() {
    let mut server = Ringway::start(&["hello:app", "--bind", "127.0.0.1:0", "--no-supervisor"]);
    for signal in [libc::SIGHUP, libc::SIGUSR2] {
        server.signal(signal);
        assert_eq!(
            server.line(),
            "ringway: without a supervisor nothing is started anew; end with SIGTERM and start again"
        );
        assert!(server.get("/").ends_with("Hello, World!"));
    }
    server.signal(libc::SIGINT);
    let ended = server.wait();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn signals_cost_no_request() {
    for io in ["uring", "epoll"] {
        if io == "uring" && ringway::driver::uring::probe().is_err() {
            skip("signals_cost_no_request", "no io_uring");
            continue;
        }
        let flags = ["hello:app", "--bind", "127.0.0.1:0", "--workers", "2", "--io", io, "--no-supervisor"];
        let server = Ringway::start(&flags);
        // The kernel hands them to any thread of the process, workers too; SIGCHLD says nothing.
        for _ in 0..200 {
            server.signal(libc::SIGCHLD);
            server.signal(libc::SIGHUP);
            assert!(server.get("/").ends_with("Hello, World!"));
            server.signal(libc::SIGCHLD);
        }
        let worker = worker_thread(server.id());
        for _ in 0..200 {
            // SAFETY: tgkill takes no pointer, and the thread belongs to a child that is still running.
            unsafe { libc::syscall(libc::SYS_tgkill, server.id(), worker, libc::SIGCHLD) };
            assert!(server.get("/").ends_with("Hello, World!"));
        }
        assert_eq!(server.terminate().code, Some(0));
    }
}

/// The number of the first worker's thread.
fn worker_thread(id: i32) -> i32 {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let is_worker = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "ringway-0")
    };
    let paths: Vec<_> = tasks.map_while(Result::ok).map(|task| task.path()).collect();
    let worker = paths.iter().find(|path| is_worker(path)).expect("a worker has a thread");
    worker.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a thread has a number")
}

#[test]
fn signals_that_were_blocked_by_the_parent_are_caught() {
    let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0"]);
    cli_support::block_terminate(&mut command);
    assert_eq!(Ringway::spawn(&mut command).terminate().code, Some(0));
}

#[test]
fn a_stderr_that_nobody_reads_costs_no_worker() {
    let mut command = ringway(&["echo:app", "--bind", "127.0.0.1:0", "--workers", "1"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
    let mut banner = String::new();
    while !banner.contains(" on http://") {
        banner.clear();
        assert!(stderr.read_line(&mut banner).expect("it is text") > 0, "it ends before its banner");
    }
    drop(stderr);
    let address = banner.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
    let answer_to = |request: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream.write_all(request).expect("it takes a request");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    // The operator would be told of the first; the second finds the same worker.
    let refused = answer_to(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    let is_refused = refused.starts_with("HTTP/1.1 413 ");
    let is_served = answer_to(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200 ");
    let _ = child.kill();
    let _ = child.wait();
    assert!(is_refused && is_served, "refused: {is_refused}, served: {is_served}");
}

#[test]
fn what_outlasts_the_graceful_timeout_is_cut_and_counted() {
    let arguments = ["echo:app", "--bind", "127.0.0.1:0", "--graceful-timeout", "500ms", "--workers", "1"];
    let server = Ringway::start(&arguments);
    let _stuck = server.begin_request();
    server.signal(libc::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        "ringway: 1 connection was cut at the graceful timeout of 500 ms\nringway: how often limits were met: graceful-timeout 1\n"
    );
}

#[test]
fn the_second_interrupt_ends_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let unix = format!("unix:{}", path.display());
    let server = Ringway::start(&["echo:app", "--bind", "127.0.0.1:0", "--bind", &unix, "--workers", "1"]);
    let _stuck = server.begin_request();
    server.signal(libc::SIGINT);
    // A listener that refuses shows that the first one has been taken.
    while TcpStream::connect(("127.0.0.1", server.port())).is_ok() {
        std::thread::yield_now();
    }
    server.signal(libc::SIGINT);
    assert_eq!(server.wait().code, Some(130));
    assert!(!path.exists(), "the socket file is removed");
}

#[test]
fn the_access_log_goes_to_stdout_or_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("access.log");
    let server = Ringway::start(&["hello:app", "--bind", "127.0.0.1:0", "--access-log", &path.display().to_string()]);
    server.get("/logged?x");
    assert_eq!(server.terminate().code, Some(0));
    let log = std::fs::read_to_string(&path).expect("the log is there");
    assert!(log.contains("\"GET /logged?x HTTP/1.1\" 200 13"), "{log}");
    let server = Ringway::start(&["hello:app", "--bind", "127.0.0.1:0", "--access-log", "-"]);
    server.get("/seen");
    let ended = server.terminate();
    assert!(ended.stdout.contains("GET /seen"), "{}", ended.stdout);
    let ended = run(&mut ringway(&["hello:app", "--bind", "127.0.0.1:0", "--access-log", "/nowhere/at/all"]));
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn a_seccomp_refusal_is_said_plainly_and_epoll_serves() {
    let mut doctor = ringway(&["doctor"]);
    if !cli_support::refuse_io_uring(&mut doctor) {
        return skip(
            "a_seccomp_refusal_is_said_plainly_and_epoll_serves",
            "the filter is written for x86-64 and arm64",
        );
    }
    let ended = run(&mut doctor);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stdout.contains("not usable: io_uring is refused"), "{}", ended.stdout);
    assert!(ended.stdout.contains("--io auto takes           epoll"), "{}", ended.stdout);

    let mut uring = ringway(&["hello:app", "--bind", "127.0.0.1:0", "--io", "uring"]);
    cli_support::refuse_io_uring(&mut uring);
    let ended = run(&mut uring);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.starts_with("ringway: io_uring is refused"), "{}", ended.stderr);

    let mut auto = ringway(&["hello:app", "--bind", "127.0.0.1:0", "--workers", "1"]);
    cli_support::refuse_io_uring(&mut auto);
    let server = Ringway::spawn(&mut auto);
    assert_eq!(server.before_banner.len(), 1, "{:?}", server.before_banner);
    assert!(server.before_banner[0].contains("io_uring is refused"), "{:?}", server.before_banner);
    assert!(server.banner.ends_with("(1 worker, epoll)"), "{}", server.banner);
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn a_limit_on_the_size_of_files_costs_a_request_and_not_the_server() {
    for io in ["uring", "epoll"] {
        let arguments = ["echo:app", "--bind", "127.0.0.1:0", "--io", io, "--body-max", "8m", "--body-memory", "64k"];
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ringway")]).args(arguments);
        if io == "uring" && ringway::driver::uring::probe().is_err() {
            skip("a_limit_on_the_size_of_files_costs_a_request_and_not_the_server", "no io_uring");
            continue;
        }
        let server = Ringway::spawn(&mut command);
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has this option");
        let head = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n";
        stream.write_all(&[head.as_bytes(), &[b'a'; 300_000]].concat()).expect("it is taken");
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("it answers");
        assert_eq!(start, *b"HTTP/1.1 503");
        assert_eq!(server.terminate().code, Some(0));
    }
}

#[test]
fn a_server_can_be_embedded() {
    use ringway::config::{Config, Io};
    use ringway::server::Server;
    let binds = vec!["127.0.0.1:0".parse().expect("an address")];
    let config = Config { binds, worker_count: 2, io: Io::Epoll, ..Config::default() };
    let running = Server::new(config, || Box::new(ringway::apps::echo::app)).start().expect("it starts");
    let mut stream = TcpStream::connect(running.addresses()[0]).expect("it listens");
    stream.write_all(b"GET /embedded HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.contains("GET /embedded HTTP/1.1"), "{answer}");
    running.drain();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(running.join()));
    let outcome = receiver.recv_timeout(Duration::from_secs(20)).expect("it ends").expect("without an error");
    assert_eq!(outcome.cut_count, 0);
}

#[test]
fn a_factory_that_panics_is_an_error_and_leaves_nothing_running() {
    use ringway::config::{Config, Io};
    use ringway::server::Server;
    let binds = vec!["127.0.0.1:0".parse().expect("an address")];
    let config = Config { binds, worker_count: 2, io: Io::Epoll, ..Config::default() };
    let error = Server::new(config, || panic!("no application today")).start().err().expect("it cannot start");
    assert!(error.get_ref().is_some_and(|inner| inner.is::<ringway::server::Panicked>()), "{error}");
}
