//! Workers as processes, with the built binary: how they start, serve, fail and end.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cli_support::{Ringway, children, kill, parent_of, ringway, run};

const ARGUMENTS: [&str; 7] = ["echo:app", "--bind", "127.0.0.1:0", "--workers", "2", "--isolate", "processes"];

#[test]
fn each_worker_is_a_process_and_serves() {
    let server = Ringway::start(&ARGUMENTS);
    let port = server.port();
    assert!(server.banner.starts_with(&format!("ringway 0.1.0: echo:app on http://127.0.0.1:{port} (2 workers, ")));
    assert_eq!(children(server.id()).len(), 2);
    for _ in 0..20 {
        assert!(server.get("/x").contains("GET /x HTTP/1.1"));
    }
    let ended = server.terminate();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_worker_that_dies_is_started_again_with_a_line() {
    let mut server = Ringway::start(&ARGUMENTS);
    let before = children(server.id());
    kill(before[0]);
    let line = server.line();
    let (start, end) =
        ("ringway: worker ", format!(" (process {}) was ended by SIGKILL; it is started again", before[0]));
    assert!(line.starts_with(start) && line.ends_with(&end), "{line}");
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let now = children(server.id());
        if now.len() == 2 && now.contains(&before[1]) && !now.contains(&before[0]) {
            break;
        }
        assert!(Instant::now() < until, "no other worker comes: {now:?}");
        std::thread::yield_now();
    }
    for _ in 0..20 {
        assert!(server.get("/x").contains("GET /x HTTP/1.1"));
    }
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn running_requests_are_drained() {
    let server = Ringway::start(&ARGUMENTS);
    let mut stream = server.begin_request();
    server.signal(libc::SIGTERM);
    while TcpStream::connect(("127.0.0.1", server.port())).is_ok() {
        std::thread::yield_now();
    }
    stream.write_all(b"0123456789").expect("the body is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn the_second_interrupt_kills_and_socket_files_are_removed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let unix = format!("unix:{}", path.display());
    let server = Ringway::start(&[&ARGUMENTS[..], &["--bind", &unix]].concat());
    assert!(path.exists());
    let _stuck = server.begin_request();
    server.signal(libc::SIGINT);
    while TcpStream::connect(("127.0.0.1", server.port())).is_ok() {
        std::thread::yield_now();
    }
    server.signal(libc::SIGINT);
    assert_eq!(server.wait().code, Some(130));
    assert!(!path.exists(), "the socket file is removed");
}

#[test]
fn what_cannot_start_is_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it has an address").to_string();
    let ended = run(&mut ringway(&["hello:app", "--isolate", "processes", "--bind", &address]));
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
    let ended = run(&mut ringway(&[&ARGUMENTS[..], &["--access-log", "/nowhere/at/all"]].concat()));
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
}

#[test]
fn no_worker_survives_its_parent() {
    let server = Ringway::start(&ARGUMENTS);
    let workers = children(server.id());
    kill(server.id());
    let until = Instant::now() + Duration::from_secs(20);
    while workers.iter().any(|id| parent_of(*id).is_some()) {
        assert!(Instant::now() < until, "a worker survives");
        std::thread::yield_now();
    }
}

#[test]
fn an_inherited_listener_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut command = ringway(&["hello:app", "--bind", "fd://9", "--workers", "2", "--isolate", "processes"]);
    cli_support::inherit(&mut command, &listener, 9);
    let server = Ringway::spawn(&mut command);
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}
