//! The supervisor: what it starts again, what it keeps, and what it says.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cli_support::{Ringway, children, kill, ringway, run, skip};

const ARGUMENTS: [&str; 5] = ["hello:app", "--bind", "127.0.0.1:0", "--workers", "2"];

fn with(flags: &[&str]) -> Vec<&'static str> {
    ARGUMENTS.iter().copied().chain(flags.iter().map(|flag| &*flag.to_string().leak())).collect()
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: it takes too long");
        std::thread::yield_now();
    }
}

/// Whether this build has Python applications, and where they are kept.
fn python_directory() -> Option<tempfile::TempDir> {
    cfg!(feature = "wsgi").then(|| tempfile::tempdir().expect("a directory"))
}

const WSGI: &str = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'WORD']\n";

fn write_module(directory: &Path, text: &str) {
    let path = directory.join("changing.py");
    // Written aside and moved, so that no child reads half of it; nothing compiled may be taken for it.
    let _ = fs::remove_dir_all(directory.join("__pycache__"));
    fs::write(directory.join("new"), text).expect("it is written");
    fs::rename(directory.join("new"), path).expect("it is moved");
}

#[test]
fn workers_of_one_program_are_threads_of_one_child() {
    let server = Ringway::start(&ARGUMENTS);
    assert_eq!(children(server.id()).len(), 1);
    let tasks = fs::read_dir(format!("/proc/{}/task", server.id())).expect("it lives").count();
    assert_eq!(tasks, 1, "a supervisor has no threads");
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn no_supervisor_is_one_process() {
    let server = Ringway::start(&with(&["--no-supervisor"]));
    assert!(children(server.id()).is_empty());
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
    for flag in [&["--reload"][..], &["--max-requests", "9"]] {
        let ended = run(&mut ringway(&with(&[&["--no-supervisor"], flag].concat())));
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    }
}

#[test]
fn a_child_that_dies_again_and_again_is_started_later_each_time() {
    let mut server = Ringway::start(&ARGUMENTS);
    let mut lines = Vec::new();
    for _ in 0..4 {
        until("a child serves", || !children(server.id()).is_empty() && server.get("/").ends_with("Hello, World!"));
        kill(children(server.id())[0]);
        // It may have been killed just before it could say that it serves.
        lines.push(server.line_with(" again"));
    }
    let ends = [" again", "in 100 ms", "in 200 ms", "in 400 ms"];
    assert!(lines.iter().zip(ends).all(|(line, end)| line.ends_with(end)), "{lines:?}");
    until("a child serves", || server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn a_restart_with_a_broken_module_leaves_the_old_one_serving() {
    let Some(directory) = python_directory() else {
        return skip("a_restart_with_a_broken_module_leaves_the_old_one_serving", "the build has no Python");
    };
    write_module(directory.path(), &WSGI.replace("WORD", "first"));
    let path = directory.path().display().to_string();
    let mut command = ringway(&["changing:app", "--bind", "127.0.0.1:0", "--workers", "2", "--pythonpath", &path]);
    let mut server = Ringway::spawn(command.env("PYTHONDONTWRITEBYTECODE", "1"));
    let before = children(server.id());
    write_module(directory.path(), "this is no Python\n");
    server.signal(libc::SIGHUP);
    server.line_with("SyntaxError");
    server.line_with("ringway: the new workers do not start; the old ones go on");
    for _ in 0..20 {
        assert!(server.get("/").ends_with("first"));
    }
    assert_eq!(children(server.id()), before);
    write_module(directory.path(), &WSGI.replace("WORD", "second"));
    server.signal(libc::SIGHUP);
    server.line_with("ringway: started anew");
    until("the new ones serve", || (0..20).all(|_| server.get("/").ends_with("second")));
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_restart_that_is_asked_for_during_another_is_not_forgotten() {
    let Some(directory) = python_directory() else {
        return skip("a_restart_that_is_asked_for_during_another_is_not_forgotten", "the build has no Python");
    };
    // What is read is kept before the module is slow, so that a later change is not seen by this start.
    let text = |word: &str| format!("import time\n{}time.sleep(0.3)\n", WSGI.replace("WORD", word));
    write_module(directory.path(), &text("first"));
    let path = directory.path().display().to_string();
    let mut command = ringway(&["changing:app", "--bind", "127.0.0.1:0", "--workers", "2", "--pythonpath", &path]);
    let mut server = Ringway::spawn(command.env("PYTHONDONTWRITEBYTECODE", "1"));
    let before = children(server.id());
    write_module(directory.path(), &text("second"));
    server.signal(libc::SIGHUP);
    until("a child of the second is there", || children(server.id()).len() > before.len());
    write_module(directory.path(), &text("third"));
    server.signal(libc::SIGHUP);
    server.line_with("started anew");
    server.line_with("started anew");
    until("the third serve", || (0..20).all(|_| server.get("/").ends_with("third")));
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_pid_file_is_no_way_through_a_link() {
    let directory = tempfile::tempdir().expect("a directory");
    let (target, link) = (directory.path().join("target"), directory.path().join("pid"));
    fs::write(&target, "precious").expect("it is written");
    std::os::unix::fs::symlink(&target, &link).expect("a link");
    let ended = run(&mut ringway(&with(&["--pid-file", &link.display().to_string()])));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("cannot write the pid file"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&target).expect("it is there"), "precious");
}

#[test]
fn a_child_that_dies_in_the_delay_before_the_end_is_started_again() {
    let mut server = Ringway::start(&with(&["--drain-delay", "60s"]));
    server.signal(libc::SIGTERM);
    kill(children(server.id())[0]);
    server.line_with("it is started again");
    assert!(server.get("/").ends_with("Hello, World!"));
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn a_changed_file_starts_the_application_anew() {
    let Some(directory) = python_directory() else {
        return skip("a_changed_file_starts_the_application_anew", "the build has no Python");
    };
    write_module(directory.path(), &WSGI.replace("WORD", "first"));
    let path = directory.path().display().to_string();
    let flags = ["changing:app", "--bind", "127.0.0.1:0", "--workers", "1", "--reload", "--pythonpath", &path];
    let mut server = Ringway::spawn(ringway(&flags).env("PYTHONDONTWRITEBYTECODE", "1"));
    assert!(server.get("/").ends_with("first"));
    write_module(directory.path(), "this is no Python\n");
    server.line_with("changing.py has changed");
    server.line_with("the old ones go on");
    assert!(server.get("/").ends_with("first"));
    write_module(directory.path(), &WSGI.replace("WORD", "third, and longer"));
    server.line_with("changing.py has changed");
    server.line_with("started anew");
    // An old worker may still take who comes in the same moment.
    until("the new one serves", || server.get("/").ends_with("third, and longer"));
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn what_keeps_the_first_child_from_starting_is_the_exit_code() {
    let ended = run(&mut ringway(&["no:such_app", "--bind", "127.0.0.1:0", "--interface", "linked"]));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let ended = run(&mut ringway(&with(&["--spool-dir", "/nowhere/at/all", "--body-max", "9M"])));
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
}

#[test]
fn a_delay_before_the_end_is_not_ready_and_serves() {
    let server = Ringway::start(&with(&["--drain-delay", "60s", "--admin", "127.0.0.1:0"]));
    let note = server.before_banner.iter().find(|line| line.contains("admin on ")).expect("it says where").clone();
    let admin = note.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
    assert!(cli_support::get_from(admin, "/readyz").ends_with("ready\n"));
    server.signal(libc::SIGTERM);
    until("it is not ready", || cli_support::get_from(admin, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(server.get("/").ends_with("Hello, World!"), "it serves on");
    // Asked again, it does not wait.
    let began = Instant::now();
    server.signal(libc::SIGTERM);
    let ended = server.wait();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn a_child_that_does_not_end_is_killed() {
    let mut server = Ringway::start(&with(&["--graceful-timeout", "100ms"]));
    let child = children(server.id())[0];
    // SAFETY: kill takes no pointer. A stopped process hears nothing.
    assert_eq!(unsafe { libc::kill(child, libc::SIGSTOP) }, 0);
    server.signal(libc::SIGTERM);
    let line = server.line();
    assert_eq!(line, "ringway: worker 1 did not end within the graceful timeout of 100 ms; it is killed");
    assert_eq!(server.wait().code, Some(1));
}

#[test]
fn a_terminal_that_goes_is_the_end() {
    let (mut master, mut slave) = (-1, -1);
    let none = std::ptr::null_mut::<libc::c_char>();
    // SAFETY: both pointers are valid for the descriptors that the call writes; the others may be null.
    let opened = unsafe { libc::openpty(&mut master, &mut slave, none, std::ptr::null(), std::ptr::null()) };
    assert_eq!(opened, 0, "a terminal can be had");
    let mut command = ringway(&ARGUMENTS);
    // SAFETY: the calls are async-signal-safe, and the descriptors are open in the child.
    unsafe {
        command.pre_exec(move || {
            libc::close(master);
            match libc::setsid() >= 0 && libc::ioctl(slave, libc::TIOCSCTTY, 0) == 0 {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let mut server = Ringway::spawn(&mut command);
    // With its terminal there it is a hot restart.
    server.signal(libc::SIGHUP);
    server.line_with("started anew");
    // SAFETY: both are this test's own, and closed once.
    unsafe {
        libc::close(slave);
        libc::close(master);
    }
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn it_works_as_process_1() {
    let name = "it_works_as_process_1";
    let probe = std::process::Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skip(name, "unshare --pid is not allowed here");
    }
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", env!("CARGO_BIN_EXE_ringway")]).args(ARGUMENTS);
    let mut server = Ringway::spawn(&mut command);
    let first = children(server.id());
    let child = children(first[0])[0];
    let began = Instant::now();
    kill(child);
    server.line_with("it is started again");
    until("it is back", || children(first[0]).iter().any(|now| *now != child) && !server.get("/").is_empty());
    assert!(began.elapsed() < Duration::from_secs(1), "it is back within a second");
    // SAFETY: kill takes no pointer, and the process is one of this test's.
    assert_eq!(unsafe { libc::kill(first[0], libc::SIGHUP) }, 0);
    server.line_with("started anew");
    assert!(server.get("/").ends_with("Hello, World!"));
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(first[0], libc::SIGTERM) }, 0);
    let ended = server.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn orphans_of_process_1_are_buried() {
    let name = "orphans_of_process_1_are_buried";
    let Some(directory) = python_directory() else { return skip(name, "the build has no Python") };
    let probe = std::process::Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skip(name, "unshare --pid is not allowed here");
    }
    let text = "import subprocess\ndef app(environ, start_response):\n    start_response('200 OK', [])\n    \
                subprocess.run(['sh', '-c', '(sh -c \"exit 3\" & ) ; exit 0'])\n    return [b'done']\n";
    write_module(directory.path(), text);
    let path = directory.path().display().to_string();
    let mut command = std::process::Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", env!("CARGO_BIN_EXE_ringway")]);
    command.args(["changing:app", "--bind", "127.0.0.1:0", "--workers", "1", "--pythonpath", &path]);
    let server = Ringway::spawn(&mut command);
    let first = children(server.id())[0];
    for _ in 0..20 {
        assert!(server.get("/").ends_with("done"));
    }
    let zombies = || {
        let all = fs::read_dir("/proc").expect("there is /proc").map_while(Result::ok);
        let stats = all.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        stats.filter(|stat| stat.contains(&format!(") Z {first} "))).count()
    };
    until("orphans are buried", || zombies() == 0);
    // SAFETY: kill takes no pointer, and the process is one of this test's.
    assert_eq!(unsafe { libc::kill(first, libc::SIGTERM) }, 0);
    assert_eq!(server.wait().code, Some(0));
}
