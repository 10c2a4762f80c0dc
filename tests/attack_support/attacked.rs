//! What is attacked: the binary with applications in Rust or in Python, or this program, which serves a router of axum.

use std::process::Command;

/// The kinds of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attacked {
    Native,
    Python,
    Axum,
}

impl Attacked {
    /// As ATTACKED says; `scripts/test` runs the attacks on each.
    pub(crate) fn chosen() -> Attacked {
        match std::env::var("ATTACKED").as_deref() {
            Ok("wsgi") => Attacked::Python,
            Ok("axum") => Attacked::Axum,
            Ok(other) => panic!("ATTACKED is wsgi or axum, not {other}"),
            Err(_) => Attacked::Native,
        }
    }

    /// The server with these flags: a greeting, and an echo below its path.
    pub(crate) fn command(self, flags: &[&str]) -> Command {
        let chosen: &[&str] = match self {
            Attacked::Native => &["--mount", "/=hello:app", "--mount", "/echo=echo:app"],
            Attacked::Python => PYTHON,
            Attacked::Axum => &["attacked:site"],
        };
        let arguments = [chosen, flags, OWN_FLAGS].concat();
        if self != Attacked::Axum {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
            command.args(arguments);
            return command;
        }
        // What a test program is told is for libtest, so that the server's own come by a variable.
        let mut command = Command::new(std::env::current_exe().expect("a program knows where it is"));
        command.args(["--exact", "axum_server", "--nocapture"]).env(ARGUMENTS, arguments.join(" "));
        command
    }
}

/// Serves, and ends the process, where this is the process that is to be attacked.
#[cfg(feature = "async")]
pub(crate) fn serve_if_asked() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    ringway::sys::mimalloc::prepare();
    let invocation = ringway::Invocation {
        program: "attack".into(),
        prefix: Vec::new(),
        arguments: arguments.split(' ').map(Into::into).collect(),
    };
    let apps = ringway::apps! { "attacked:site" => crate::async_support::routers::site() };
    ringway::run(&apps, &invocation).end()
}

/// The same applications in Python.
const PYTHON: &[&str] = &[
    "--mount",
    "/=wire_apps:hello",
    "--mount",
    "/echo=wire_apps:echo",
    "--isolate",
    "threads",
    "--pythonpath",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wsgi"),
];
/// Each server is one process.
const OWN_FLAGS: &[&str] = &["--bind", "127.0.0.1:0", "--no-supervisor"];
const ARGUMENTS: &str = "ATTACKED_ARGUMENTS";
