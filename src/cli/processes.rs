//! Workers as processes: the parent binds, spawns and watches them; each child serves with one worker.
//!
//! A child is this program again, with its listeners as inherited descriptors and a variable that says which. It
//! reports through a pipe: lines that are to be said, and `ready` with its driver. The first child starts alone, so that
//! what keeps all of them from starting is said once; the others follow when it is ready.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::config::{Address, Config, Pin};
use crate::server::{self, Listeners};
use crate::sys::process::{self, Signal};

use super::serve::{INTERRUPTED, banner, failed, say};
use super::{Exit, Invocation};

/// What workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolate {
    /// Processes where an interpreter is involved, else threads.
    Auto,
    /// Threads of one process.
    Threads,
    /// Processes of their own.
    Processes,
}

/// How to start this same command line again.
#[derive(Clone, Debug)]
pub(super) struct Respawn {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// What a child was told by its parent.
pub(super) struct Role {
    index: usize,
    count: usize,
    status: File,
    listeners: Vec<OwnedFd>,
}

/// What a child tells its parent.
enum Report {
    Note(String),
    Ready(String),
}

/// The parent's view of its children.
struct Crew<'a> {
    respawn: &'a Respawn,
    listeners: Listeners,
    count: usize,
    children: Vec<Member>,
    sender: Sender<(usize, Report)>,
    reports: Receiver<(usize, Report)>,
    ready_count: usize,
    is_ending: bool,
    /// The exit code where something went wrong.
    fault: Option<u8>,
}

struct Member {
    child: Child,
    is_ready: bool,
    status: Option<ExitStatus>,
}

/// Serves with a process for each worker, and answers with the exit code.
pub(super) fn serve(config: Config, shown: &str, respawn: Respawn) -> Exit {
    if let Err(error) = process::catch_signals() {
        return failed(&error);
    }
    let count = config.worker_count.max(1);
    let (sender, reports) = channel();
    let crew = server::listen(&config.binds, count).and_then(|listeners| {
        let mut crew = Crew {
            respawn: &respawn,
            listeners,
            count,
            children: Vec::new(),
            sender,
            reports,
            ready_count: 0,
            is_ending: false,
            fault: None,
        };
        crew.spawn()?;
        Ok(crew)
    });
    match crew {
        Ok(mut crew) => crew.supervise(shown),
        Err(error) => failed(&error),
    }
}

impl Crew<'_> {
    fn supervise(&mut self, shown: &str) -> Exit {
        let mut is_interrupted = false;
        while self.children.iter().any(|member| member.status.is_none()) {
            match process::next_signal() {
                Ok(Some(Signal::Interrupt)) if is_interrupted => {
                    for member in &mut self.children {
                        // One that has ended already is what is wanted.
                        let _ = member.child.kill();
                        let _ = member.child.wait();
                    }
                    return Exit::abrupt(INTERRUPTED);
                }
                Ok(Some(signal @ (Signal::Terminate | Signal::Interrupt))) => {
                    is_interrupted |= signal == Signal::Interrupt;
                    self.end();
                }
                Ok(Some(Signal::Hangup)) => {
                    say(format_args!("ringway: SIGHUP is ignored; end with SIGTERM and start again"))
                }
                Ok(Some(Signal::Look)) => {}
                Ok(None) => process::wait(&[], None),
                Err(error) => return failed(&error),
            }
            self.take_reports(shown);
            self.reap();
        }
        match self.fault {
            Some(code) => Exit::of(code),
            // One that was asked to end before it served had nothing to drain.
            None if self.children.iter().all(|one| !one.is_ready || one.status.is_some_and(|it| it.success())) => {
                Exit::SUCCESS
            }
            None => Exit::FAILURE,
        }
    }

    /// Starts the next child; a thread of this process listens to it until it is ready or gone.
    fn spawn(&mut self) -> io::Result<()> {
        let index = self.children.len();
        let (status, theirs) = io::pipe()?;
        // Dropped here once the child has them: who drains must be the last to hold a listener.
        let listeners = self.listeners.shares.pop().unwrap_or_default();
        let numbers: Vec<_> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
        let written: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        let pipe = theirs.as_raw_fd();
        let mut command = Command::new(&self.respawn.program);
        command.args(&self.respawn.arguments);
        command.env(VARIABLE, format!("{index}/{}/{pipe}/{}", self.count, written.join(",")));
        process::bequeath(&mut command, [numbers, vec![pipe]].concat());
        let child = command.spawn().map_err(|error| {
            let program = self.respawn.program.display();
            io::Error::new(error.kind(), format!("cannot start a worker with {program}: {error}"))
        })?;
        self.children.push(Member { child, is_ready: false, status: None });
        let sender = self.sender.clone();
        std::thread::Builder::new().name(format!("status-{index}")).spawn(move || {
            for line in BufReader::new(status).lines().map_while(Result::ok) {
                let report = match line.strip_prefix("ready ") {
                    Some(io) => Report::Ready(io.to_string()),
                    None => Report::Note(line),
                };
                // Who has hung up is ending.
                let _ = sender.send((index, report));
                process::signal_look();
            }
        })?;
        Ok(())
    }

    /// Acts on what children have told: says it, starts the others behind the first, and shows the banner when all serve.
    fn take_reports(&mut self, shown: &str) {
        while let Ok((index, report)) = self.reports.try_recv() {
            match report {
                // All have the same to say.
                Report::Note(line) if index == 0 => say(format_args!("{line}")),
                Report::Note(_) => {}
                Report::Ready(io) => {
                    self.children[index].is_ready = true;
                    self.ready_count += 1;
                    while !self.is_ending && self.children.len() < self.count {
                        if let Err(error) = self.spawn() {
                            failed(&error);
                            self.fault = Some(1);
                            self.end();
                        }
                    }
                    if self.ready_count == self.count && !self.is_ending {
                        banner(shown, &self.listeners.places, self.count, &io);
                    }
                }
            }
        }
    }

    /// Takes note of children that have ended; one that was not asked to ends the others.
    fn reap(&mut self) {
        for index in 0..self.children.len() {
            let member = &mut self.children[index];
            let Ok(Some(status)) = member.child.try_wait() else { continue };
            if member.status.replace(status).is_some() || self.is_ending {
                continue;
            }
            let worker = index + 1;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
            match status.signal() {
                Some(signal) => say(format_args!("ringway: worker {worker} was ended by signal {signal}")),
                None if member.is_ready => {
                    say(format_args!("ringway: worker {worker} ended with {}", code.unwrap_or_default()));
                }
                // It has said itself why it does not start.
                None => {}
            }
            self.fault = Some(if member.is_ready { 1 } else { code.unwrap_or(1) });
            self.end();
        }
    }

    /// Asks all children to drain and to end.
    fn end(&mut self) {
        self.is_ending = true;
        self.listeners.shares.clear();
        for member in self.children.iter().filter(|member| member.status.is_none()) {
            process::terminate(member.child.id());
        }
    }
}

/// The role of this process, if it is a child. It is taken out of the environment, so this is called once, before there
/// is another thread. What the process starts does not see the variable; /proc/PID/environ goes on showing what exec
/// was given, which nothing can take back.
pub(super) fn take_role() -> Option<Role> {
    let text = process::take_variable(VARIABLE)?;
    let mut parts = text.splitn(4, '/');
    let mut number = || parts.next()?.parse::<i32>().ok();
    let (index, count, status) = (number()?, number()?, number()?);
    let listeners = parts.next()?.split(',').filter_map(|one| process::adopt(one.parse().ok()?).ok()).collect();
    Some(Role {
        index: usize::try_from(index).ok()?,
        count: usize::try_from(count).ok()?,
        status: process::adopt(status).ok()?.into(),
        listeners,
    })
}

impl Role {
    /// How many processes serve.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Narrows the configuration of the whole server to this process, and pins the process to its processor.
    pub(super) fn apply(&self, config: &mut Config) {
        config.binds = self.listeners.iter().map(|one| Address::Descriptor(one.as_raw_fd())).collect();
        config.worker_count = 1;
        config.connection_count_max = config.connection_count_max.map(|all| (all / self.count.max(1)).max(1));
        let allowed = process::affinity().unwrap_or_default();
        if config.pin == Pin::Auto && self.count <= allowed.len() {
            // An unpinned worker serves as well, only less evenly.
            let _ = process::pin(allowed[self.index]);
        }
        config.pin = Pin::Off;
    }

    /// Tells the parent that this worker serves, with what is to be said and the driver; closes what the server has
    /// duplicates of.
    pub(super) fn ready(mut self, notes: &[String], io: &str) {
        let lines: String = notes.iter().map(|note| format!("{note}\n")).collect();
        // Where the parent has gone, the kernel has had this process terminated.
        let _ = self.status.write_all(format!("{lines}ready {io}\n").as_bytes());
    }
}

impl Respawn {
    /// The program with its arguments.
    pub(super) fn of(invocation: &Invocation) -> Respawn {
        let Invocation { program, prefix, arguments } = invocation;
        Respawn { program: program.clone(), arguments: [prefix.as_slice(), arguments].concat() }
    }
}

impl FromStr for Isolate {
    type Err = String;

    fn from_str(text: &str) -> Result<Isolate, String> {
        match text {
            "auto" => Ok(Isolate::Auto),
            "threads" => Ok(Isolate::Threads),
            "processes" => Ok(Isolate::Processes),
            _ => Err("write auto, threads or processes".into()),
        }
    }
}

/// What a child is told: its index, how many there are, the pipe of its status, its listeners.
const VARIABLE: &str = "RINGWAY_WORKER";
