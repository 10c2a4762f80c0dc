//! The command line: what was typed becomes a `Config`, and what happens becomes lines and an exit code.
//!
//! stdout is data (`apps`, `doctor`, an access log to `-`); stderr is for people. Nothing of the server is
//! decided here.

mod admin;
mod choose;
mod doctor;
mod flags;
mod processes;
#[cfg_attr(not(feature = "wsgi"), path = "cli/no_python.rs")]
mod python;
mod serve;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::app::Apps;
use crate::sys::process;

use choose::{Names, NotFound, Surroundings};
use flags::{Action, Command, Flags};
use processes::{Isolate, Respawn, Role};

/// How the command line was begun, and how a worker process begins it again.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The program.
    pub program: PathBuf,
    /// What the program is told before the command line's own arguments: nothing for the binary.
    pub prefix: Vec<OsString>,
    /// The arguments, without the program's name.
    pub arguments: Vec<OsString>,
}

/// The exit code that a command line ended with: 0 where all went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    code: u8,
    /// Whether what still runs is left as it is.
    is_abrupt: bool,
}

/// The whole command line of a server with these applications, from a program's `main`. It ends the process.
#[must_use]
pub fn main(apps: Apps) -> ExitCode {
    let exit = match std::env::current_exe() {
        Ok(program) => {
            let arguments = std::env::args_os().skip(1).collect();
            run(&apps, &Invocation { program, prefix: Vec::new(), arguments })
        }
        Err(error) => serve::failed(&error),
    };
    exit.end()
}

/// The same for a program that is not the binary: one that Python's console script runs in. It is called on the main
/// thread, before there is another; the program is to [`Exit::end`] with what it answers.
#[must_use]
pub fn run(apps: &Apps, invocation: &Invocation) -> Exit {
    let role = processes::take_role();
    let words = [OsString::from("ringway")].into_iter().chain(invocation.arguments.iter().cloned());
    let command = match Command::try_parse_from(words) {
        Ok(command) => command,
        Err(error) => {
            // Where the terminal is gone there is nobody to read it.
            let _ = error.print();
            return if error.use_stderr() { Exit::of(USAGE) } else { Exit::SUCCESS };
        }
    };
    match &command.action {
        Some(Action::Apps) => {
            print(&listed(apps, ""));
            Exit::SUCCESS
        }
        Some(Action::Doctor { flags }) => match flags.config() {
            Ok(config) => doctor::examine(&config),
            Err(line) => misused(&line),
        },
        None => serve(apps, &command, role, invocation),
    }
}

fn serve(apps: &Apps, command: &Command, role: Option<Role>, invocation: &Invocation) -> Exit {
    let Command { app, flags, .. } = command;
    let config = match flags.config() {
        Ok(config) => config,
        Err(line) => return misused(&line),
    };
    if let Err(line) = set_environment(flags, role.is_some()) {
        return misused(&line);
    }
    let names = Names { app: app.as_deref(), mounts: &flags.mount };
    let is_python = names.are_python(apps, flags.python.interface);
    let is_isolated = match flags.isolate {
        Isolate::Processes => true,
        Isolate::Auto => is_python && config.worker_count > 1,
        Isolate::Threads => false,
    };
    if is_isolated && role.is_none() && !names.is_empty() {
        return processes::serve(config, &names.shown(), Respawn::of(invocation));
    }
    let surroundings = Surroundings {
        is_multithread: flags.threads.unwrap_or(1) > 1 || (role.is_none() && config.worker_count > 1),
        is_multiprocess: role.as_ref().is_some_and(|role| role.count() > 1),
    };
    match choose::choose(apps, &names, &flags.python, surroundings) {
        Ok(Some(choice)) => {
            serve::serve(config, choice.in_threads(flags.threads), &names.shown(), &flags.admin.admin, role)
        }
        Ok(None) => {
            let usage = Command::command().render_usage();
            eprintln!("Provide an application object as module:callable\n\n{usage}\n\nLinked applications:");
            eprint!("{}", listed(apps, "  "));
            Exit::of(USAGE)
        }
        Err(NotFound(lines)) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            Exit::of(UNKNOWN_APP)
        }
    }
}

/// Changes the directory and sets variables as the flags say. A worker process has the directory of its parent.
fn set_environment(flags: &Flags, is_worker: bool) -> Result<(), String> {
    if let Some(directory) = flags.python.chdir.as_ref().filter(|_| !is_worker) {
        std::env::set_current_dir(directory).map_err(|error| format!("--chdir {}: {error}", directory.display()))?;
    }
    process::set_variables(&flags.python.env);
    Ok(())
}

impl Exit {
    const SUCCESS: Exit = Exit::of(0);
    const FAILURE: Exit = Exit::of(1);

    const fn of(code: u8) -> Exit {
        Exit { code, is_abrupt: false }
    }

    /// For a process that somebody has lost patience with.
    const fn abrupt(code: u8) -> Exit {
        Exit { code, is_abrupt: true }
    }

    /// Ends the process: an interpreter's threads are awaited, and what its `atexit` knows is run. Nobody has to wait
    /// for that: a signal ends it from now on as any process.
    pub fn end(self) -> ! {
        process::release_signals();
        if !self.is_abrupt {
            python::finish();
        }
        // A reader that has gone needs no last line.
        let _ = std::io::stdout().flush();
        process::exit(self.code)
    }
}

fn misused(line: &str) -> Exit {
    eprintln!("ringway: {line}");
    Exit::of(USAGE)
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
/// The exit code of an application that is neither linked nor imported.
const UNKNOWN_APP: u8 = 4;
