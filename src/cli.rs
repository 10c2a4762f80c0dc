//! The command line: what was typed becomes a `Config`, and what happens becomes lines and an exit code.
//!
//! stdout is data (`apps`, `doctor`, an access log to `-`); stderr is for people. Nothing of the server is
//! decided here.

mod admin;
mod choose;
mod doctor;
mod flags;
mod logs;
mod operate;
mod proxy;
#[cfg_attr(not(feature = "wsgi"), path = "cli/no_python.rs")]
mod python;
mod role;
mod serve;
mod supervisor;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::app::Apps;
use crate::config::Config;
use crate::diagnostics::{self, Level};
use crate::stats::Board;
use crate::sys::process;
use crate::sys::service::Notifier;

use admin::Numbers;
use choose::{Names, NotFound, Surroundings};
use flags::{Action, Command, Flags};
use operate::{Ground, Isolate, Unfit};
use role::{Role, take_role};
use serve::Base;
use supervisor::{Plan, Predecessor, take_predecessor};

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
    let standing = take_role().and_then(|role| Ok(Standing { role, predecessor: take_predecessor().transpose()? }));
    let standing = match standing {
        Ok(standing) => standing,
        Err(error) => return serve::failed(&error),
    };
    let words = [OsString::from("ringway")].into_iter().chain(invocation.arguments.iter().cloned());
    let command = match Command::try_parse_from(words) {
        Ok(command) => command,
        Err(error) => {
            // Where the terminal is gone there is nobody to read it.
            let _ = error.print();
            return if error.use_stderr() { Exit::of(USAGE) } else { Exit::SUCCESS };
        }
    };
    command.flags.logs.configure_diagnostics();
    match &command.action {
        Some(Action::Apps) => {
            print(&listed(apps, ""));
            Exit::SUCCESS
        }
        Some(Action::Doctor { flags }) => match flags.config() {
            Ok(config) => doctor::examine(&config),
            Err(line) => misused(&line),
        },
        None => serve(apps, &command, standing, invocation),
    }
}

/// What this process is to others.
struct Standing {
    /// A child's.
    role: Option<Role>,
    /// What was left to a supervisor.
    predecessor: Option<Predecessor>,
}

fn serve(apps: &Apps, command: &Command, standing: Standing, invocation: &Invocation) -> Exit {
    let Command { app, flags, .. } = command;
    let Standing { role, predecessor } = standing;
    let config = match flags.config() {
        Ok(config) => config,
        Err(line) => return misused(&line),
    };
    if let Err(line) = set_environment(flags, role.is_none() && predecessor.is_none()) {
        return misused(&line);
    }
    let names = Names::new(app.as_deref(), &flags.mount, apps, flags.python.interface);
    if names.is_empty() {
        let (usage, listed) = (Command::command().render_usage(), listed(apps, "  "));
        let sentence = "Provide an application object as module:callable";
        let line = format_args!("{sentence}\n\n{usage}\n\nLinked applications:\n{}", listed.trim_end());
        diagnostics::say_patiently(Level::Error, line);
        return Exit::of(USAGE);
    }
    if role.is_none() && !flags.operate.no_supervisor {
        let is_python = names.are_python(apps, flags.python.interface);
        return supervise(&config, flags, is_python, names.shown(), invocation.clone(), predecessor);
    }
    let child_count = role.as_ref().map_or(1, Role::child_count);
    let worker_count = role.as_ref().map_or(config.worker_count, Role::worker_count);
    let surroundings = Surroundings {
        is_multithread: flags.threads.unwrap_or(1) > 1 || worker_count > 1,
        is_multiprocess: child_count > 1,
    };
    // The application is not imported before privileges are given up, and does not see what a service manager says.
    let max_requests = flags.operate.request_count_max();
    let base = match role {
        Some(role) => Base::Child { role, max_requests, is_reloading: flags.operate.reload },
        None => match flags.operate.prepare(&config.binds, &flags.admin.admin, config.worker_count.max(1)) {
            Ok(ground) => {
                let (notifier, drain_delay) = (Notifier::of_environment(), flags.operate.drain_delay);
                Base::Alone { ground: Box::new(ground), notifier, drain_delay }
            }
            Err(unfit) => return unfit.end(),
        },
    };
    let make = match choose::choose(apps, &names, &flags.python, surroundings) {
        Ok(choice) => choice.in_threads(flags.threads),
        Err(NotFound(lines)) => {
            // What Python raised comes first, with its sentence behind it.
            if let Some((sentence, traceback)) = lines.split_last() {
                if !traceback.is_empty() {
                    diagnostics::traceback(&format!("{}\n", traceback.join("\n")));
                }
                diagnostics::say_patiently(Level::Error, format_args!("{sentence}"));
            }
            return Exit::of(UNKNOWN_APP);
        }
    };
    serve::serve(config, make, &names.shown(), base)
}

/// Has children serve, and watches them.
fn supervise(
    config: &Config,
    flags: &Flags,
    is_python: bool,
    shown: String,
    invocation: Invocation,
    predecessor: Option<Predecessor>,
) -> Exit {
    process::ignore_failed_writes();
    let worker_count = config.worker_count.max(1);
    let operate = &flags.operate;
    let is_isolated = match operate.isolate {
        Isolate::Processes => true,
        Isolate::Auto => is_python,
        Isolate::Threads => false,
    };
    let ground = match predecessor {
        None => operate.prepare(&config.binds, &flags.admin.admin, worker_count).map(|ground| (ground, None, None)),
        Some(Predecessor { mut listeners, mut admin, board, left }) => {
            listeners.take_files(&config.binds);
            admin.take_files(&flags.admin.admin);
            // It has been serving; what is only beside that must not end it.
            let pid_file = operate.pid_file().unwrap_or_else(|unfit| {
                unfit.end();
                None
            });
            Ok((Ground { listeners, admin, pid_file }, board, Some(left)))
        }
    };
    let (Ground { listeners, admin, pid_file: _pid_file }, board, left) = match ground {
        Ok(ground) => ground,
        Err(unfit) => return unfit.end(),
    };
    let child_count = match &left {
        Some(left) => left.child_count(),
        None if is_isolated => worker_count,
        None => 1,
    };
    let row_count = listeners.count() * GENERATION_COUNT;
    let board = board.map_or_else(|| Board::new(row_count), Ok);
    // Where nobody is to see the numbers, a file limit (`ulimit -f`) that forbids sharing them is no reason to end.
    let board = board.or_else(|error| if admin.places.is_empty() { Board::private(row_count) } else { Err(error) });
    let numbers = match board.and_then(|board| Numbers::new(board, admin)) {
        Ok(numbers) => numbers,
        Err(error) => return serve::failed(&error),
    };
    numbers.board.set_worker_count(listeners.count());
    let plan = Plan {
        invocation,
        shown,
        child_count,
        worker_count: listeners.count() / child_count,
        graceful_timeout: config.graceful_timeout,
        drain_delay: operate.drain_delay,
        is_reloading: operate.reload,
        listeners,
        notifier: Notifier::of_environment(),
        numbers,
    };
    supervisor::supervise(plan, left)
}

impl Unfit {
    fn end(self) -> Exit {
        match self {
            Unfit::Misused(line) => misused(&line),
            Unfit::Failed(error) => serve::failed(&error),
        }
    }
}

/// Changes the directory and sets variables as the flags say. The directory is kept by what this process starts.
fn set_environment(flags: &Flags, is_first: bool) -> Result<(), String> {
    if let Some(directory) = flags.python.chdir.as_ref().filter(|_| is_first) {
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
    diagnostics::say_patiently(Level::Error, format_args!("ringway: {line}"));
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

/// Generations that may still finish what they have while another serves, before the newest is not counted.
const GENERATION_COUNT: usize = 8;
/// The exit code of a flag, address or variable that cannot be read.
const USAGE: u8 = 2;
/// The exit code of an application that is neither linked nor imported.
const UNKNOWN_APP: u8 = 4;
