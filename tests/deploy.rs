//! What `deploy/` has, and what it relies on: the units, the seccomp profile with the built binary under it, sockets and
//! messages of a service manager, privileges.

// The profile knows no other, and nor does the filter that is made of it.
#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;
mod deploy_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use cli_support::{Ringway, children, ringway, run, skip};
use deploy_support::{Hearer, behind_shell, calls, filter, until};

const RINGS: [&str; 3] = ["io_uring_enter", "io_uring_register", "io_uring_setup"];

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

fn profile() -> Value {
    let text = fs::read_to_string(deploy("seccomp.json")).expect("there is a profile");
    serde_json::from_str(&text).expect("it is JSON")
}

/// The settings of a unit by their section and name; one that is given several times has them in order.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(deploy(name)).expect("there is a unit");
    let (mut section, mut settings) = (String::new(), BTreeMap::<_, Vec<_>>::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_string();
        } else {
            let (key, value) = line.split_once('=').expect("a setting has a value");
            settings.entry(format!("{section}.{key}")).or_default().push(value.to_string());
        }
    }
    settings
}

/// Whether a program is there; else the test says that it is skipped.
fn has(program: &str, test: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        skip(test, &format!("{program} is not there"));
    }
    is_there
}

/// Whether the ring can be used on this machine; else the test says that its part is skipped.
fn has_ring(test: &str) -> bool {
    let doctor = run(&mut ringway(&["doctor"]));
    if doctor.code != Some(0) {
        skip(test, "io_uring is refused on this machine");
    }
    doctor.code == Some(0)
}

fn is_root(test: &str) -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    if !is_root {
        skip(test, "only root may become another user");
    }
    is_root
}

#[test]
fn the_units_say_what_the_server_keeps_to() {
    let service = unit("ringway.service");
    let says = |key: &str, value: &str| {
        assert!(service.get(key).is_some_and(|values| values.iter().any(|one| one == value)), "{key}={value}");
    };
    says("Service.Type", "notify");
    says("Service.NotifyAccess", "main");
    says("Service.KillMode", "mixed");
    says("Service.ExecReload", "/bin/kill -HUP $MAINPID");
    says("Service.RestartPreventExitStatus", "2 4");
    says("Service.LimitMEMLOCK", "infinity");
    says("Unit.Requires", "ringway.socket");
    let seconds = |key: &str| service[key][0].trim_end_matches('s').parse::<u64>().expect("seconds");
    assert!(seconds("Service.TimeoutStopSec") > 30 + 3, "longer than the graceful timeout and a kill");
    assert!(seconds("Service.WatchdogSec") > 0);
    let allowed = service["Service.SystemCallFilter"].iter().filter(|line| !line.starts_with('~'));
    let allowed: Vec<_> = allowed.flat_map(|line| line.split(' ')).collect();
    assert!(RINGS.iter().all(|ring| allowed.contains(ring)), "{allowed:?}");
    let socket = unit("ringway.socket");
    assert_eq!(socket["Socket.ListenStream"], ["8888"]);
}

#[test]
fn the_image_runs_as_nobody_in_particular() {
    let text = fs::read_to_string(deploy("Containerfile")).expect("there is a Containerfile");
    let last = text.rsplit("\nFROM ").next().expect("it has a stage");
    let value = |name: &str| last.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let user = value("USER").split(':').next().and_then(|user| user.parse::<u32>().ok());
    assert!(user.is_some_and(|user| user != 0), "a number, so that Kubernetes can see that it is not root's");
    assert_eq!(value("STOPSIGNAL"), "SIGTERM");
    // The form without a shell: the server is process 1.
    assert_eq!((value("ENTRYPOINT"), value("CMD")), (r#"["/usr/local/bin/ringway"]"#, r#"["hello:app"]"#));
    assert!(!text.contains("\nHEALTHCHECK"));
}

#[test]
fn systemd_finds_no_fault_with_the_units() {
    if !has("systemd-analyze", "systemd_finds_no_fault_with_the_units") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(deploy("ringway.service")).expect("there is a unit");
    // It looks whether the program is there.
    let text = text.replace("/usr/local/bin/ringway", env!("CARGO_BIN_EXE_ringway"));
    let (service, socket) = (directory.path().join("ringway.service"), directory.path().join("ringway.socket"));
    fs::write(&service, text).expect("it is written");
    fs::copy(deploy("ringway.socket"), &socket).expect("it is copied");
    let output = Command::new("systemd-analyze").arg("verify").args([&service, &socket]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("ringway"), "{said}");
    let mut security = Command::new("systemd-analyze");
    // In tenths: below 2.0 of 10.
    let output = security.args(["security", "--offline=true", "--threshold=20"]).arg(&service).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("unrecognized option") || said.contains("Unknown option") {
        return skip("systemd_finds_no_fault_with_the_units", "systemd before 250 rates only what is installed");
    }
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_profile_allows_what_it_names_and_nothing_else() {
    let profile = profile();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(profile["architectures"], serde_json::json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]));
    let mut seen = Vec::new();
    for rule in profile["syscalls"].as_array().expect("there are rules") {
        for name in rule["names"].as_array().expect("a rule has names").iter().filter_map(Value::as_str) {
            assert!(calls::is_known(name), "libc knows no {name}, or the table of the test does not");
            assert!(name == "socket" || !seen.contains(&name.to_string()), "{name} is there twice");
            assert_eq!(rule["action"] == "SCMP_ACT_ALLOW", name != "clone3", "{name}");
            seen.push(name.to_string());
        }
    }
    assert!(RINGS.iter().all(|ring| seen.iter().any(|name| name == ring)));
    for name in ["bpf", "keyctl", "mount", "perf_event_open", "ptrace", "setns", "unshare", "userfaultfd"] {
        assert!(!seen.iter().any(|seen| seen == name), "{name}");
    }
}

/// Requests, a hot restart, a reopened log and the end.
fn lead_a_life(mut server: Ringway) {
    assert!(server.get("/").ends_with("Hello, World!"));
    server.signal(libc::SIGHUP);
    assert!(server.line().contains("started anew"), "a hot restart");
    assert!(server.get("/").ends_with("Hello, World!"));
    server.signal(libc::SIGUSR1);
    server.signal(libc::SIGUSR2);
    assert!(server.line().contains("started anew"), "another");
    assert!(server.line().contains("this process was replaced"), "and of the supervisor");
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

fn serves_under_the_profile(io: &str, extra: &[&str]) {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("access.log").display().to_string();
    let arguments = ["hello:app", "--bind", "127.0.0.1:0", "--io", io, "--access-log", &log];
    let mut command = ringway(&[&arguments[..], extra].concat());
    filter::confine(&mut command, &profile(), &[]);
    let server = Ringway::spawn(&mut command);
    assert_eq!(server.before_banner, [""; 0]);
    lead_a_life(server);
    assert_eq!(fs::read_to_string(&log).expect("there is a log").lines().count(), 3);
}

#[test]
fn the_profile_suffices_on_uring() {
    if has_ring("the_profile_suffices_on_uring") {
        serves_under_the_profile("uring", &[]);
        serves_under_the_profile("uring", &["--isolate", "processes", "--workers", "2"]);
    }
}

#[test]
fn the_profile_suffices_on_epoll() {
    serves_under_the_profile("epoll", &["--workers", "2"]);
}

#[test]
fn without_its_calls_of_the_ring_epoll_serves_and_a_line_says_so() {
    let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0"]);
    filter::confine(&mut command, &profile(), &RINGS);
    let server = Ringway::spawn(&mut command);
    let [line] = &server.before_banner[..] else { panic!("one line, not {:?}", server.before_banner) };
    assert!(line.starts_with("ringway: io_uring is refused (io_uring_setup: ") && line.contains("seccomp"), "{line}");
    assert!(line.ends_with("; epoll serves instead"), "{line}");
    assert!(server.banner.ends_with(", epoll)"), "{}", server.banner);
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

#[cfg(feature = "wsgi")]
const SLOW_APPLICATION: &str = "
import os, socket, subprocess, tempfile, threading, time
time.sleep(float(os.environ.get('SLOW', '0')))
def app(environ, start_response):
    # What applications do: a thread, a child, a file, a name.
    thread = threading.Thread(target=len, args=('',))
    thread.start(); thread.join()
    subprocess.run(['true'], check=True)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'x'); file.flush(); os.fsync(file.fileno())
    socket.getaddrinfo('localhost', 80)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'Hello, World!']
";

#[cfg(feature = "wsgi")]
#[test]
fn the_profile_suffices_for_python() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("slow.py"), SLOW_APPLICATION).expect("it is written");
    let path = directory.path().display().to_string();
    for threads in ["1", "2"] {
        let arguments = ["slow:app", "--bind", "127.0.0.1:0", "--pythonpath", &path, "--threads", threads];
        let mut command = ringway(&[&arguments[..], &["--workers", "2"]].concat());
        filter::confine(&mut command, &profile(), &[]);
        lead_a_life(Ringway::spawn(&mut command));
    }
}

/// While an application is imported, nobody in its process catches signals yet.
#[cfg(feature = "wsgi")]
#[test]
fn a_worker_that_starts_survives_the_reopening_of_logs_and_does_not_fail_an_end() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("slow.py"), SLOW_APPLICATION).expect("it is written");
    let path = directory.path().display().to_string();
    let arguments = ["slow:app", "--bind", "127.0.0.1:0", "--pythonpath", &path, "--workers", "1"];
    let mut server = Ringway::spawn(ringway(&arguments).env("SLOW", "1"));
    let restart = |server: &Ringway| {
        let count = children(server.id()).len();
        server.signal(libc::SIGHUP);
        until("no other worker comes", || children(server.id()).len() > count);
    };
    restart(&server);
    server.signal(libc::SIGUSR1);
    let line = server.line();
    assert!(line.contains("started anew"), "{line}");
    assert!(server.get("/").ends_with("Hello, World!"));
    until("the old worker stays", || children(server.id()).len() == 1);
    restart(&server);
    let ended = server.terminate();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

fn inherit_at(command: &mut Command, socket: &impl AsRawFd, number: i32) {
    let socket = socket.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe, takes no pointer, and the sockets outlive the spawn.
    unsafe {
        command.pre_exec(move || match libc::dup2(socket, number) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

fn get_over(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn sockets_that_are_passed_are_served_and_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.sock");
    let inet = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unix = UnixListener::bind(&path).expect("it listens");
    // The numbers from 3 on may be in use while the child is made; the shell moves them there.
    let first = "exec 3<&8 4<&9 8<&- 9<&-; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:unix";
    let mut command = behind_shell(first, &ringway(&["hello:app", "--workers", "2"]));
    inherit_at(&mut command, &inet, 8);
    inherit_at(&mut command, &unix, 9);
    let mut server = Ringway::spawn(&mut command);
    assert_eq!(server.port(), inet.local_addr().expect("it has an address").port());
    assert!(server.banner.contains(&format!("unix:{}", path.display())), "{}", server.banner);
    assert!(server.get("/").ends_with("Hello, World!") && get_over(&path).ends_with("Hello, World!"));
    server.signal(libc::SIGUSR2);
    assert!(server.line().contains("started anew") && server.line().contains("replaced"));
    assert!(server.get("/").ends_with("Hello, World!") && get_over(&path).ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
    assert!(path.exists(), "the file is for whoever has made it to remove");
}

#[test]
fn sockets_that_are_passed_to_another_are_left_alone() {
    let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0"]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1");
    let server = Ringway::spawn(&mut command);
    assert!(server.get("/").ends_with("Hello, World!"));
    assert_eq!(server.terminate().code, Some(0));
}

#[test]
fn the_service_manager_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let hearer = Hearer::bind(&path);
    let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let server = Ringway::spawn(&mut command);
    assert_eq!(hearer.next(), "READY=1");
    until("no sign of life", || hearer.any() == "WATCHDOG=1");
    let reloads = |signal| {
        server.signal(signal);
        let message = hearer.next();
        let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|time| time.parse::<u64>().ok());
        assert!(time.is_some_and(|time| time > 0), "{message}");
        assert_eq!(hearer.next(), "READY=1");
    };
    reloads(libc::SIGHUP);
    reloads(libc::SIGUSR2);
    assert_eq!(hearer.next(), "READY=1", "the successor in the same process says so, too");
    until("no sign of life of the successor", || hearer.any() == "WATCHDOG=1");
    server.signal(libc::SIGTERM);
    assert_eq!(hearer.next(), "STOPPING=1");
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn the_service_manager_is_told_without_a_supervisor_and_by_an_abstract_name() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let name = format!("ringway-deploy-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("it is a name");
    let socket = UnixDatagram::bind_addr(&address).expect("the socket is bound");
    let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0", "--no-supervisor"]);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let server = Ringway::spawn(&mut command);
    let hearer = Hearer::of(socket);
    assert_eq!(hearer.next(), "READY=1");
    server.signal(libc::SIGTERM);
    assert_eq!(hearer.next(), "STOPPING=1");
    assert_eq!(server.wait().code, Some(0));
}

#[test]
fn the_pid_file_is_written_removed_and_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ringway.pid");
    let text = path.display().to_string();
    let arguments = ["hello:app", "--bind", "127.0.0.1:0", "--pid-file", &text];
    // Nobody has the largest number, so that the file is one that was left behind.
    fs::write(&path, format!("{}\n", i32::MAX)).expect("it is written");
    let mut server = Ringway::start(&arguments);
    assert_eq!(fs::read_to_string(&path).expect("there is a file"), format!("{}\n", server.id()));
    let other = run(&mut ringway(&arguments));
    let line = format!(
        "ringway: the pid file {text} names process {}, which lives; end it, or remove the file\n",
        server.id()
    );
    assert_eq!((other.code, other.stderr), (Some(1), line));
    server.signal(libc::SIGUSR2);
    assert!(server.line().contains("started anew") && server.line().contains("replaced"));
    assert_eq!(fs::read_to_string(&path).expect("there is a file"), format!("{}\n", server.id()));
    assert_eq!(server.terminate().code, Some(0));
    assert!(!path.exists());
}

#[test]
fn the_umask_is_that_of_unix_sockets_and_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (socket, log) = (path("a.sock"), path("a.log"));
    let bind = format!("unix:{socket}");
    let mode = |path: &str| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    for (umask, expected) in [("007", 0o770), ("077", 0o700), ("0", 0o777)] {
        let arguments = ["hello:app", "--bind", &bind, "--umask", umask, "--access-log", &log];
        let server = Ringway::start(&arguments);
        assert_eq!((mode(&socket), mode(&log)), (expected, expected & 0o666), "{umask}");
        assert_eq!(server.terminate().code, Some(0));
        fs::remove_file(&log).expect("it is there");
    }
    let ended = run(&mut ringway(&["hello:app", "--umask", "9"]));
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}

/// The effective user of a process.
fn user_of(id: i32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("it has a user");
    line.split_whitespace().nth(1).and_then(|id| id.parse().ok()).expect("it is a number")
}

#[test]
fn privileges_are_given_up_once_the_addresses_are_bound() {
    if !is_root("privileges_are_given_up_once_the_addresses_are_bound") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    // What a user of no privileges has to reach: the program and the directory.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let program = directory.path().join("ringway");
    fs::copy(env!("CARGO_BIN_EXE_ringway"), &program).expect("it is copied");
    let socket = directory.path().join("a.sock");
    let pid_file = directory.path().join("a.pid").display().to_string();
    let bind = format!("unix:{}", socket.display());
    let typed = ringway(&["hello:app", "--bind", "127.0.0.1:0", "--bind", &bind, "--pid-file", &pid_file]);
    let mut command = Command::new(&program);
    command.args(typed.get_args()).args(["--user", "nobody", "--workers", "2", "--isolate", "processes"]);
    let mut server = Ringway::spawn(&mut command);
    let nobody = fs::metadata(&socket).expect("it is there").uid();
    let serves = |server: &Ringway| {
        until("there are other children than two", || children(server.id()).len() == 2);
        let all = [vec![server.id()], children(server.id())].concat();
        assert!(nobody != 0 && all.iter().all(|id| user_of(*id) == nobody), "{all:?}");
        assert!(server.get("/").ends_with("Hello, World!") && get_over(&socket).ends_with("Hello, World!"));
    };
    serves(&server);
    if has_ring("privileges_are_given_up_once_the_addresses_are_bound on io_uring") {
        assert!(server.banner.ends_with(", io_uring)"), "{} {:?}", server.banner, server.before_banner);
    }
    server.signal(libc::SIGUSR2);
    assert!(server.line().contains("started anew") && server.line().contains("replaced"));
    serves(&server);
    assert_eq!(server.terminate().code, Some(0));
    // The directory is root's, so that the file can only be emptied.
    assert_eq!(fs::read_to_string(&pid_file).expect("it is left"), "");
}

#[test]
fn nobody_is_nobody_else() {
    for (flag, name, line) in [
        ("--user", "no-such-user", "ringway: --user no-such-user: there is no such user\n"),
        ("--group", "no-such-group", "ringway: --group no-such-group: there is no such group\n"),
    ] {
        let ended = run(&mut ringway(&["hello:app", "--bind", "127.0.0.1:0", flag, name]));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), line));
    }
    if is_root("nobody_is_nobody_else as another user") {
        let mut command = ringway(&["hello:app", "--bind", "127.0.0.1:0", "--user", "root"]);
        command.uid(65_534).gid(65_534);
        // Where the program cannot be reached by others there is nothing to see.
        let Ok(output) = command.output() else { return skip("nobody_is_nobody_else as another user", "no way there") };
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(line.starts_with("ringway: cannot become --user or --group: "), "{line}");
        assert!(line.ends_with("only root may become another\n") && output.status.code() == Some(1), "{line}");
    }
}
