//! The examples as a user meets them: programs without an argument that serve, say so, and drain.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use support::client::{Client, Step};

/// An example that runs. Dropping it ends it.
struct Example {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

/// Where an example is built beside the tests. `cargo build --examples` builds all.
fn program(name: &str) -> Option<PathBuf> {
    let tests = std::env::current_exe().expect("it has a path");
    let program = tests.parent()?.parent()?.join("examples").join(name);
    if !program.exists() {
        eprintln!("skipped: the example {name}: it is not built; `cargo build --examples` builds it");
    }
    program.exists().then_some(program)
}

impl Example {
    fn start(program: PathBuf, arguments: &[&str]) -> Example {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RINGWAY_") || name == "PORT" || name == "WEB_CONCURRENCY" {
                command.env_remove(name);
            }
        }
        let child = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        Example { child, stderr }
    }

    /// The next line with this in it, and those before.
    fn lines_to(&mut self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while !lines.last().is_some_and(|line| line.contains(text)) {
            let mut line = String::new();
            let size = self.stderr.read_line(&mut line).expect("it is text");
            assert!(size > 0, "no line has {text:?}: {lines:?}");
            lines.push(line);
        }
        lines
    }

    /// Asks it to end, and answers with its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: kill takes no pointer, and the child has not been waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
        self.child.wait().expect("it can be waited for").code()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended already; then both are harmless errors.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a banner.
fn address(banner: &str) -> SocketAddr {
    let (_, rest) = banner.split_once("http://").expect("the banner has an address");
    rest.split([' ', ',']).next().and_then(|address| address.trim().parse().ok()).expect("it is one")
}

fn front_page(address: SocketAddr) -> String {
    let get = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    Client::connect(address).play(&[Step::Send(get[..].into())], &["GET"])[0].text()
}

#[test]
fn each_example_serves_its_only_application() {
    for name in ["axum", "warp", "poem", "salvo", "hyper"] {
        let Some(program) = program(name) else { continue };
        let mut example = Example::start(program, &["--bind", "127.0.0.1:0", "--workers", "2"]);
        let banner = example.lines_to(&format!(": {name}:app on http://")).pop().unwrap_or_default();
        assert!(front_page(address(&banner)).starts_with("Notes, "), "{name}");
        assert_eq!(example.interrupt(), Some(0), "{name}");
    }
}

#[test]
fn threads_are_no_use_to_an_application_that_awaits() {
    let Some(program) = program("axum") else { return };
    let mut example = Example::start(program, &["--bind", "127.0.0.1:0", "--workers", "2", "--threads", "3"]);
    let lines = example.lines_to(": axum:app on http://");
    let ignored = "ringway: --threads 3 is ignored: the application awaits\n";
    assert_eq!(lines.iter().filter(|line| *line == ignored).count(), 1, "{lines:?}");
    assert_eq!(front_page(address(&lines[lines.len() - 1])), "Notes, by axum.\n");
    assert_eq!(example.interrupt(), Some(0));
}

#[test]
fn examples_of_the_world_outside_say_where_it_is_not() {
    for (name, variable) in [("redis", "REDIS_URL"), ("gateway", "UPSTREAM")] {
        let Some(program) = program(name) else { continue };
        let mut command = Command::new(program);
        let ended = command.args(["--bind", "127.0.0.1:0"]).env(variable, "no address").output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{variable}=no address: ")), "{said}");
    }
}
