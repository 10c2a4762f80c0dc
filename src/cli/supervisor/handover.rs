//! The supervisor replaces itself: the same process executes the program that lies on disk now, which takes over the
//! sockets and the children.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use crate::server::listeners::Listeners;
use crate::stats::{Board, Phase};
use crate::sys::{children, process};

use super::super::role::{adopt_shares, numbers};
use super::super::serve::{caution, inform};
use super::child::{Child, Stage};
use super::{Coming, Supervisor};

/// What a supervisor leaves to the one that comes after it.
pub(in crate::cli) struct Predecessor {
    pub(in crate::cli) listeners: Listeners,
    pub(in crate::cli) admin: Listeners,
    /// `None` where it is of another version.
    pub(in crate::cli) board: Option<Board>,
    pub(in crate::cli) left: Left,
}

/// The rest of it.
pub(in crate::cli) struct Left {
    child_count: usize,
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
    rows: Vec<usize>,
}

impl Left {
    /// How many processes serve.
    pub(in crate::cli) fn child_count(&self) -> usize {
        self.child_count
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
            let stage = match child.stage {
                Stage::Starting => "starting",
                Stage::Serving => "serving",
                Stage::Ending { .. } => "ending",
            };
            let rows: Vec<_> = child.rows.iter().map(ToString::to_string).collect();
            let (id, index, generation, rows) = (child.id, child.index, child.generation, rows.join("+"));
            children.push(format!("{id}:{index}:{generation}:{stage}:{reports}:{rows}"));
            descriptors.push(reports);
        }
        let admin = self.plan.numbers.listeners();
        let board = self.plan.numbers.board.descriptor();
        descriptors.extend(admin.iter().copied().chain(board));
        let told = [
            self.plan.child_count.to_string(),
            self.generation.to_string(),
            u8::from(self.has_terminal).to_string(),
            children.join(","),
            board.unwrap_or(-1).to_string(),
            numbers(admin),
            self.plan.listeners.own().iter().map(|is_own| if *is_own { '1' } else { '0' }).collect(),
            written.join(";"),
        ];
        let invocation = &self.plan.invocation;
        let mut command = Command::new(&invocation.program);
        command.args(&invocation.prefix).args(&invocation.arguments).env(VARIABLE, told.join("/"));
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
        for Kept { id, index, generation, stage, reports, rows } in children {
            let stage = match stage {
                Stage::Ending { .. } => Stage::Ending { kill_at: self.plan.kill_at() },
                stage => stage,
            };
            match Child::of(id, index, generation, stage, reports) {
                Ok(mut child) => {
                    child.rows = rows;
                    child.is_retired = !child.is_wanted();
                    self.children.push(child);
                }
                Err(error) => caution(format_args!("ringway: worker {}: {error}", index + 1)),
            }
        }
        let version = env!("CARGO_PKG_VERSION");
        inform(format_args!("ringway {version}: this process was replaced; its workers go on"));
        self.plan.notifier.notify("READY=1");
        // One whose last word the predecessor did not hear is missing.
        for index in 0..self.plan.child_count {
            if !self.of(generation).any(|child| child.index == index) {
                self.places[index].start_at = Some(Instant::now());
            }
        }
        if self.watch.is_some() {
            // Which files the workers were read from they have told the predecessor.
            self.restart(false);
        }
        self.plan.numbers.board.supervise();
        self.plan.numbers.set_phase(Phase::Serving);
    }
}

/// What a predecessor in this process has left; taken from the environment, so to be called once, before any thread.
pub(in crate::cli) fn take_predecessor() -> Option<io::Result<Predecessor>> {
    let text = process::take_variable(VARIABLE)?;
    Some(read(&text).unwrap_or_else(|| Err(io::Error::other(format!("the variable {VARIABLE} cannot be read")))))
}

fn read(text: &str) -> Option<io::Result<Predecessor>> {
    let mut parts = text.splitn(8, '/');
    let (child_count, generation) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let has_terminal = parts.next()? == "1";
    if child_count == 0 {
        return None;
    }
    let written = parts.next()?.split(',').filter(|one| !one.is_empty());
    let mut children = written.map(kept).collect::<Option<Vec<_>>>()?;
    let board = process::adopt(parts.next()?.parse().ok()?).ok().and_then(|board| Board::adopt(board).ok());
    if board.is_none() {
        // Their rows are none of the board that is made instead, where others may have these numbers.
        children.iter_mut().for_each(|child| child.rows.clear());
    }
    let admin = parts.next()?;
    let admin = if admin.is_empty() { Vec::new() } else { adopt_shares(admin)? };
    let own = parts.next()?.chars().map(|one| one == '1').collect();
    let shares = adopt_shares(parts.next()?)?;
    if shares.len() < child_count {
        return None;
    }
    let left = Left { child_count, generation, has_terminal, children };
    let adopted = Listeners::adopt(shares, own).and_then(|listeners| {
        let admin = Listeners::adopt(admin, Vec::new())?;
        Ok(Predecessor { listeners, admin, board, left })
    });
    Some(adopted)
}

fn kept(text: &str) -> Option<Kept> {
    let mut parts = text.split(':');
    let (id, index) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let generation = parts.next()?.parse().ok()?;
    let stage = match parts.next()? {
        "starting" => Stage::Starting,
        "serving" => Stage::Serving,
        _ => Stage::Ending { kill_at: None },
    };
    let reports = process::adopt(parts.next()?.parse().ok()?).ok()?;
    let rows = parts.next()?.split('+').filter_map(|row| row.parse().ok()).collect();
    Some(Kept { id, index, generation, stage, reports, rows })
}

/// What a successor is told: processes, the generation that serves, whether a terminal can be lost, the children, the
/// board, the numbers' listeners, the listeners by worker.
const VARIABLE: &str = "RINGWAY_SUPERVISOR";
