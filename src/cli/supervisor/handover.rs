//! The supervisor replaces itself: the same process executes the program that lies on disk now, which takes over the
//! sockets and the children.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::server::listeners::Listeners;
use crate::sys::{children, process};

use super::super::role::{adopt_shares, numbers};
use super::super::serve::say;
use super::child::{Child, Stage};
use super::{Coming, Supervisor};

/// What a supervisor leaves to the one that comes after it.
pub(in crate::cli) struct Predecessor {
    pub(in crate::cli) listeners: Listeners,
    pub(in crate::cli) left: Left,
}

/// The rest of it.
pub(in crate::cli) struct Left {
    process_count: usize,
    generation: u64,
    has_terminal: bool,
    children: Vec<Kept>,
}

/// A child in the words of the variable.
struct Kept {
    id: i32,
    index: usize,
    generation: u64,
    stage: Stage,
    reports: OwnedFd,
}

impl Left {
    /// How many processes serve.
    pub(in crate::cli) fn process_count(&self) -> usize {
        self.process_count
    }
}

impl Supervisor {
    /// Executes the program anew. Returns only where that failed.
    pub(super) fn replace(&mut self) -> io::Error {
        let shares: Vec<_> = (0..self.plan.listeners.count()).map(|worker| self.plan.listeners.share(worker)).collect();
        let written: Vec<_> = shares.iter().map(|share| numbers(share)).collect();
        let mut descriptors = shares.concat();
        let mut children = Vec::new();
        for child in &self.children {
            // One that has hung up is about to end, and is buried without a word.
            let Some(reports) = child.descriptor() else { continue };
            let stage = if child.is_wanted() { "serving" } else { "ending" };
            children.push(format!("{}:{}:{}:{stage}:{reports}", child.id, child.index, child.generation));
            descriptors.push(reports);
        }
        let told = format!(
            "{}/{}/{}/{}/{}",
            self.plan.process_count,
            self.generation,
            u8::from(self.has_terminal),
            children.join(","),
            written.join(";")
        );
        let invocation = &self.plan.invocation;
        let mut command = Command::new(&invocation.program);
        command.args(&invocation.prefix).args(&invocation.arguments).env(VARIABLE, told);
        command.envs(self.plan.notifier.variables());
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        children::replace(&mut command, &descriptors)
    }

    /// Goes on where the predecessor has stopped.
    pub(super) fn succeed(&mut self, left: Left) {
        let Left { generation, has_terminal, children, .. } = left;
        self.has_terminal = has_terminal;
        self.coming = Coming::Nothing;
        self.generation = generation;
        self.last_generation = generation;
        for Kept { id, index, generation, stage, reports } in children {
            let stage = match stage {
                Stage::Ending { .. } => Stage::Ending { kill_at: self.plan.kill_at() },
                stage => stage,
            };
            match Child::of(id, index, generation, stage, reports) {
                Ok(child) => self.children.push(child),
                Err(error) => say(format_args!("ringway: worker {}: {error}", index + 1)),
            }
        }
        let version = env!("CARGO_PKG_VERSION");
        say(format_args!("ringway {version}: this process was replaced; its workers go on"));
        self.plan.notifier.notify("READY=1");
    }
}

/// What a predecessor in this process has left; taken from the environment, so to be called once, before any thread.
pub(in crate::cli) fn take_predecessor() -> Option<io::Result<Predecessor>> {
    let text = process::take_variable(VARIABLE)?;
    Some(read(&text).unwrap_or_else(|| Err(io::Error::other(format!("the variable {VARIABLE} cannot be read")))))
}

fn read(text: &str) -> Option<io::Result<Predecessor>> {
    let mut parts = text.splitn(5, '/');
    let (process_count, generation) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let has_terminal = parts.next()? == "1";
    let written = parts.next()?.split(',').filter(|one| !one.is_empty());
    let children = written.map(kept).collect::<Option<Vec<_>>>()?;
    let listeners = Listeners::adopt(adopt_shares(parts.next()?)?);
    let left = Left { process_count, generation, has_terminal, children };
    Some(listeners.map(|listeners| Predecessor { listeners, left }))
}

fn kept(text: &str) -> Option<Kept> {
    let mut parts = text.split(':');
    let (id, index) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let generation = parts.next()?.parse().ok()?;
    let stage = match parts.next()? {
        "serving" => Stage::Serving,
        _ => Stage::Ending { kill_at: None },
    };
    let reports = process::adopt(parts.next()?.parse().ok()?).ok()?;
    Some(Kept { id, index, generation, stage, reports })
}

/// What a successor is told: processes, the generation that serves, whether a terminal can be lost, the children, the
/// listeners by worker.
const VARIABLE: &str = "RINGWAY_SUPERVISOR";
