//! What the tests of `deploy/` need: the profile as a filter, a service manager's socket.

pub(crate) mod calls;
pub(crate) mod filter;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// What hears the service's messages.
pub(crate) struct Hearer(UnixDatagram);

impl Hearer {
    pub(crate) fn bind(path: &Path) -> Hearer {
        Hearer::of(UnixDatagram::bind(path).expect("the socket is bound"))
    }

    pub(crate) fn of(socket: UnixDatagram) -> Hearer {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Hearer(socket)
    }

    /// The next message that is no sign of life.
    pub(crate) fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }

    /// The next message.
    pub(crate) fn any(&self) -> String {
        let mut bytes = [0; 256];
        let size = self.0.recv(&mut bytes).expect("a message comes");
        String::from_utf8(bytes[..size].to_vec()).expect("it is text")
    }
}

/// A shell that does something first and is then replaced by the command, so that it has the shell's process id.
pub(crate) fn behind_shell(first: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{first}; exec \"$0\" \"$@\"")).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);
