//! The command line: what was typed becomes a `Config`, and what happens becomes lines and an exit code.
//!
//! stdout is data (`apps`, `doctor`, an access log to `-`); stderr is for people. Nothing of the server is
//! decided here.

mod choose;
mod doctor;
mod flags;
mod processes;
mod serve;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::app::Apps;

use flags::{Action, Command};
use processes::{Isolate, Respawn};

/// The whole command line of a server with these applications; a program's `main` returns what it answers.
#[must_use]
pub fn main(apps: Apps) -> ExitCode {
    let role = processes::child();
    let command = match Command::try_parse() {
        Ok(command) => command,
        Err(error) => {
            // Where the terminal is gone there is nobody to read it.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match command.action {
        Some(Action::Apps) => {
            print(&listed(&apps, ""));
            ExitCode::SUCCESS
        }
        Some(Action::Doctor { flags }) => match flags.config() {
            Ok(config) => doctor::examine(&config),
            Err(line) => misused(&line),
        },
        None => match choose::choose(&apps, command.app.as_deref(), &command.flags.mount) {
            Ok(Some(choice)) => match command.flags.config() {
                Ok(config) if role.is_none() && command.flags.isolate == Isolate::Processes => match Respawn::of_this()
                {
                    Ok(respawn) => processes::serve(config, &choice.shown(), respawn),
                    Err(error) => serve::failed(&error),
                },
                Ok(config) => serve::serve(config, choice, role),
                Err(line) => misused(&line),
            },
            Ok(None) => {
                let usage = Command::command().render_usage();
                eprintln!("Provide an application object as module:callable\n\n{usage}\n\nLinked applications:");
                eprint!("{}", listed(&apps, "  "));
                ExitCode::from(USAGE)
            }
            Err(line) => {
                eprintln!("ringway: {line}");
                ExitCode::from(UNKNOWN_APP)
            }
        },
    }
}

fn misused(line: &str) -> ExitCode {
    eprintln!("ringway: {line}");
    ExitCode::from(USAGE)
}

/// The applications, one a line with its sentence.
fn listed(apps: &Apps, indent: &str) -> String {
    let width = apps.iter().map(|linked| linked.name.len()).max().unwrap_or(0);
    let mut lines = String::new();
    for linked in apps {
        let line = format!("{indent}{:width$}  {}", linked.name, linked.description);
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{}", line.trim_end());
    }
    lines
}

/// Writes to stdout; a reader that has gone (`ringway apps | head -1`) is no fault.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The exit code of a flag, address or variable that cannot be read.
const USAGE: u8 = 2;
/// The exit code of an application that is not linked.
const UNKNOWN_APP: u8 = 4;
