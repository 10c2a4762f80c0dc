//! The parent: it has neither threads nor rings, keeps its process id and every listening socket, and starts, watches
//! and replaces the children that serve.
//!
//! # Generations
//! The children that one start has made are a generation. A hangup starts the next beside the one that serves, from
//! what lies on disk now: its first child alone, so that what keeps all from starting is said once, then the others.
//! When all of them serve, those of the old one retire: they leave the listen queues to their successors, who hold the
//! same sockets, and finish what they have. Where one of the new does not start, they all go and the old ones stay.
//! A child that dies is started again in its place, later each time; one that has served as many requests as it is to
//! gets a successor first.
//!
//! # The end
//! Everybody is told, after `--drain-delay`, and this process lets go of the sockets, so that the children are the last
//! to hold them and empty the queues. Who does not end in the time that it has is killed.

mod child;
mod handover;
mod plan;
mod watch;

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use crate::config::duration_text;
use crate::stats::Phase;
use crate::sys::children::{self, Order, SIGTERM, signal_name};
use crate::sys::process::{self, Signal};
use crate::sys::service;

use super::Exit;
use super::role::Report;
use super::serve::{INTERRUPTED, banner, caution, complain, failed, inform};

use child::{Child, Stage};
pub(super) use plan::Plan;
use watch::Watch;

pub(super) use handover::{Left, Predecessor, take_predecessor};

/// The parent's view of its children.
struct Supervisor {
    plan: Plan,
    children: Vec<Child>,
    places: Vec<Place>,
    /// Which generation serves.
    generation: u64,
    /// Which was begun last.
    last_generation: u64,
    coming: Coming,
    /// A restart that was asked for while another was under way, and whether this process is to be replaced behind it.
    again: Option<bool>,
    /// Whether this process is to be replaced as soon as nothing waits to be heard.
    is_leaving: bool,
    ending: Option<Ending>,
    /// Whether a hangup may mean that the terminal has gone.
    has_terminal: bool,
    watch: Option<Watch>,
    notify_at: Option<Instant>,
    /// As the first child has named it.
    io: String,
}

/// One of the processes that serve together, whoever it is now.
#[derive(Clone, Copy, Default)]
struct Place {
    /// How often in a row a child of it has not lived long.
    failure_count: u32,
    start_at: Option<Instant>,
}

/// What is being started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    Nothing,
    /// The first generation, without which there is no server.
    First,
    /// One that is to succeed, and whether this process is then to be replaced as well.
    Next {
        generation: u64,
        is_replacing: bool,
    },
}

/// The way to the end.
struct Ending {
    /// When the children are told; `None` when they have been.
    begin_at: Option<Instant>,
    is_interrupted: bool,
    /// The exit code, where all goes well from here on.
    code: u8,
}

/// Supervises until the end, and answers with the exit code.
pub(super) fn supervise(plan: Plan, left: Option<Left>) -> Exit {
    // Whoever has it ignored does not want to end with a terminal.
    let has_terminal = !process::ignores_hangup() && service::has_terminal();
    if let Err(error) = process::catch_signals() {
        return failed(&error);
    }
    let mut supervisor = Supervisor {
        places: vec![Place::default(); plan.child_count],
        children: Vec::new(),
        generation: 0,
        last_generation: 0,
        coming: Coming::First,
        again: None,
        is_leaving: false,
        ending: None,
        has_terminal,
        watch: plan.is_reloading.then(|| Watch::new(&plan.invocation.program)),
        notify_at: plan.notifier.watchdog().map(|_| Instant::now()),
        io: String::new(),
        plan,
    };
    match left {
        Some(left) => supervisor.succeed(left),
        None => supervisor.start(0, 0),
    }
    supervisor.run()
}

impl Supervisor {
    fn run(&mut self) -> Exit {
        loop {
            match process::next_signal() {
                Ok(Some(signal)) => {
                    if let Some(exit) = self.on_signal(signal) {
                        return exit;
                    }
                }
                // Not while others are coming: who takes over knows of one generation only.
                Ok(None) if self.is_leaving && self.coming == Coming::Nothing && self.ending.is_none() => {
                    let error = self.replace();
                    // A signal that has come meanwhile is acted on first.
                    if error.kind() != io::ErrorKind::Interrupted {
                        self.is_leaving = false;
                        complain(format_args!(
                            "ringway: this process cannot be replaced: {error}; it goes on as it is"
                        ));
                    }
                }
                Ok(None) => {
                    let descriptors: Vec<_> = self.children.iter().filter_map(Child::descriptor).collect();
                    let timeout = self.timeout();
                    self.plan.numbers.wait(descriptors, timeout);
                }
                Err(error) => return failed(&error),
            }
            self.hear();
            self.bury();
            self.keep_time();
            if let Some(Ending { begin_at: None, code, .. }) = self.ending
                && self.children.is_empty()
            {
                return Exit::of(code);
            }
        }
    }

    /// Answers with the exit code where the end does not wait.
    fn on_signal(&mut self, signal: Signal) -> Option<Exit> {
        match signal {
            Signal::Interrupt if self.ending.as_ref().is_some_and(|ending| ending.is_interrupted) => {
                self.children.iter().for_each(|child| children::order(child.id, Order::Kill));
                return Some(Exit::abrupt(INTERRUPTED));
            }
            Signal::Terminate | Signal::Interrupt => self.end(0, signal == Signal::Interrupt),
            Signal::Hangup if self.has_terminal && !service::has_terminal() => self.end(0, false),
            Signal::Hangup => self.restart(false),
            Signal::Replace => self.restart(true),
            Signal::Reopen => self.children.iter_mut().for_each(Child::reopen),
            Signal::Look => {}
        }
        None
    }

    /// Begins the next generation.
    fn restart(&mut self, is_replacing: bool) {
        match self.coming {
            _ if self.ending.is_some() => {}
            // What it has read may be old already.
            Coming::First | Coming::Next { .. } => self.again = Some(is_replacing || self.again == Some(true)),
            Coming::Nothing => {
                self.last_generation += 1;
                self.coming = Coming::Next { generation: self.last_generation, is_replacing };
                self.plan.notifier.notify_reloading();
                self.start(0, self.last_generation);
            }
        }
    }

    /// Starts a child. Where that cannot be done it is as if the child had failed.
    fn start(&mut self, index: usize, generation: u64) {
        let seat = self.plan.seat();
        match Child::spawn(&self.plan, seat.clone(), index, generation) {
            Ok(child) => self.children.push(child),
            Err(error) => {
                seat.rows.iter().for_each(|row| self.plan.numbers.board.release(*row));
                failed(&error);
                self.on_failed_start(index, generation, 1);
            }
        }
    }

    /// Takes note of what the children say.
    fn hear(&mut self) {
        for position in 0..self.children.len() {
            for report in self.children[position].take_reports() {
                let Child { id, index, generation, .. } = self.children[position];
                match report {
                    // All have the same to say.
                    Report::Note(line) if index == 0 => caution(format_args!("{line}")),
                    Report::Note(_) => {}
                    Report::Ready(io) => {
                        self.io = io;
                        self.on_ready(id, index, generation);
                    }
                    Report::Spent => {
                        let is_replaced =
                            self.of(generation).any(|one| one.index == index && one.stage == Stage::Starting);
                        if self.children[position].is_wanted() && !self.has_begun_to_end() && !is_replaced {
                            self.start(index, generation);
                        }
                    }
                    Report::Source(path) => {
                        if let Some(watch) = &mut self.watch {
                            watch.add(path.into());
                        }
                    }
                }
            }
        }
    }

    /// Whether the children have been told to end. Before, in the delay, it is as ever.
    fn has_begun_to_end(&self) -> bool {
        matches!(self.ending, Some(Ending { begin_at: None, .. }))
    }

    /// The children of a generation that have not been asked to end.
    fn of(&self, generation: u64) -> impl Iterator<Item = &Child> {
        self.children.iter().filter(move |child| child.generation == generation && child.is_wanted())
    }

    fn on_ready(&mut self, id: i32, index: usize, generation: u64) {
        let kill_at = self.plan.kill_at();
        for child in &mut self.children {
            if child.id == id {
                child.has_served = true;
                // One that was asked to end meanwhile will.
                if child.is_wanted() {
                    child.serve();
                }
            } else if child.generation == generation && child.index == index && child.stage == Stage::Serving {
                child.end(Order::Retire, kill_at);
            }
        }
        let is_coming = match self.coming {
            Coming::First => true,
            Coming::Next { generation: next, .. } => next == generation,
            Coming::Nothing => false,
        };
        if !is_coming || self.has_begun_to_end() {
            return;
        }
        let missing: Vec<_> = (0..self.plan.child_count)
            .filter(|index| !self.of(generation).any(|child| child.index == *index))
            .collect();
        if missing.is_empty() && self.of(generation).all(|child| child.stage == Stage::Serving) {
            self.complete(generation);
        }
        missing.into_iter().for_each(|index| self.start(index, generation));
    }

    /// All children of a generation serve.
    fn complete(&mut self, generation: u64) {
        let coming = std::mem::replace(&mut self.coming, Coming::Nothing);
        self.generation = generation;
        self.places.fill(Place::default());
        let kill_at = self.plan.kill_at();
        for child in &mut self.children {
            if child.generation != generation {
                child.end(Order::Retire, kill_at);
            }
        }
        match coming {
            Coming::First | Coming::Nothing => {
                self.plan.numbers.set_phase(Phase::Serving);
                self.plan.numbers.note().into_iter().for_each(|note| inform(format_args!("{note}")));
                let worker_count = self.plan.child_count * self.plan.worker_count;
                banner(&self.plan.shown, &self.plan.listeners.places, worker_count, &self.io);
            }
            Coming::Next { .. } => {
                self.plan.numbers.board.next_generation();
                inform(format_args!("ringway: started anew; the old workers finish what they have"));
            }
        }
        self.plan.notifier.notify("READY=1");
        let is_replacing = matches!(coming, Coming::Next { is_replacing: true, .. });
        match self.again.take() {
            Some(also_replacing) => self.restart(is_replacing || also_replacing),
            None => self.is_leaving |= is_replacing,
        }
    }

    /// Takes note of children that have ended.
    fn bury(&mut self) {
        while let Some((id, status)) = children::reap() {
            let Some(position) = self.children.iter().position(|child| child.id == id) else { continue };
            // What it said before its end was heard already, or is of no interest.
            let child = self.children.swap_remove(position);
            child.rows.iter().for_each(|row| self.plan.numbers.board.release(*row));
            match child.stage {
                // One with a successor may have finished all that it had when it was told again.
                Stage::Ending { .. } if child.is_retired && status.signal() == Some(SIGTERM) => {}
                Stage::Ending { .. } if child.has_served => self.note_end(status),
                Stage::Ending { .. } => {}
                Stage::Starting => {
                    if let Some(signal) = status.signal() {
                        let (worker, name) = (child.index + 1, signal_name(signal));
                        complain(format_args!("ringway: worker {worker} was ended by {name} before it served"));
                    }
                    self.on_failed_start(child.index, child.generation, code_of(status));
                }
                Stage::Serving => self.on_death(&child, status),
            }
        }
    }

    /// Whether the end goes well is what the children say that are asked to in it.
    fn note_end(&mut self, status: ExitStatus) {
        if let Some(ending) = &mut self.ending
            && !status.success()
        {
            ending.code = ending.code.max(1);
        }
    }

    /// A child that served has ended without being asked to.
    fn on_death(&mut self, child: &Child, status: ExitStatus) {
        let (worker, id) = (child.index + 1, child.id);
        let how = match status.signal() {
            Some(signal) => format!("was ended by {}", signal_name(signal)),
            None => format!("ended with {}", status.code().unwrap_or_default()),
        };
        if self.has_begun_to_end() {
            complain(format_args!("ringway: worker {worker} (process {id}) {how}"));
            return self.note_end(ExitStatus::from_raw(1 << 8));
        }
        let is_coming = matches!(self.coming, Coming::Next { generation, .. } if generation == child.generation);
        if self.coming == Coming::First || is_coming {
            complain(format_args!("ringway: worker {worker} (process {id}) {how}"));
            return self.on_failed_start(child.index, child.generation, code_of(status));
        }
        let delay = self.delay(child.index, child.born.elapsed());
        match delay {
            Duration::ZERO => {
                complain(format_args!("ringway: worker {worker} (process {id}) {how}; it is started again"))
            }
            delay => {
                let delay = duration_text(delay);
                complain(format_args!("ringway: worker {worker} (process {id}) {how}; it is started again in {delay}"));
            }
        }
    }

    /// Has a place filled again, and answers after how long: at once, and later each time in a row.
    fn delay(&mut self, index: usize, lived: Duration) -> Duration {
        let place = &mut self.places[index];
        if lived >= HEALTHY_TIME {
            place.failure_count = 0;
        }
        let delay = match place.failure_count {
            0 => Duration::ZERO,
            count => (DELAY_MIN * 2u32.pow((count - 1).min(16))).min(DELAY_MAX),
        };
        place.failure_count = place.failure_count.saturating_add(1);
        place.start_at = Some(Instant::now() + delay);
        delay
    }

    /// A child has ended before it served, with a line of its own about the reason.
    fn on_failed_start(&mut self, index: usize, generation: u64, code: u8) {
        match self.coming {
            _ if self.has_begun_to_end() => {}
            Coming::First => self.end(code.max(1), false),
            Coming::Next { generation: next, .. } if next == generation => {
                self.coming = Coming::Nothing;
                let kill_at = self.plan.kill_at();
                for child in self.children.iter_mut().filter(|child| child.generation == generation) {
                    child.end(Order::Retire, kill_at);
                }
                complain(format_args!("ringway: the new workers do not start; the old ones go on"));
                self.plan.notifier.notify("READY=1");
                if let Some(is_replacing) = self.again.take() {
                    self.restart(is_replacing);
                }
            }
            // A predecessor that is spent serves on, or the place is empty.
            Coming::Next { .. } | Coming::Nothing => {
                let delay = duration_text(self.delay(index, Duration::ZERO));
                complain(format_args!("ringway: worker {} does not start; it is tried again in {delay}", index + 1));
            }
        }
    }

    /// Begins the end, with the exit code that it has if all goes well; a second time without the delay.
    fn end(&mut self, code: u8, is_interrupted: bool) {
        let is_first = self.ending.is_none();
        let ending = self.ending.get_or_insert(Ending { begin_at: None, is_interrupted: false, code });
        ending.is_interrupted |= is_interrupted;
        if is_first {
            self.plan.notifier.notify("STOPPING=1");
            self.plan.numbers.set_phase(Phase::Draining);
            let is_serving = self.coming != Coming::First;
            let delay = if is_serving { self.plan.drain_delay } else { Duration::ZERO };
            ending.begin_at = Some(Instant::now() + delay);
        } else {
            // Said again it hurries: the delay is over, and who only waits for its interpreter ends.
            ending.begin_at = Some(Instant::now());
        }
        self.keep_time();
    }

    /// Does what is due.
    fn keep_time(&mut self) {
        let now = Instant::now();
        let is_due = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        if let Some(ending) = &mut self.ending
            && is_due(ending.begin_at)
        {
            ending.begin_at = None;
            self.plan.listeners.close();
            let kill_at = self.plan.kill_at();
            for child in &mut self.children {
                children::order(child.id, Order::Drain);
                child.stage = Stage::Ending { kill_at: child.kill_at().or(kill_at) };
            }
        }
        for child in self.children.iter_mut().filter(|child| is_due(child.kill_at())) {
            let timeout = duration_text(self.plan.graceful_timeout);
            let worker = child.index + 1;
            caution(format_args!(
                "ringway: worker {worker} did not end within the graceful timeout of {timeout}; it is killed"
            ));
            children::order(child.id, Order::Kill);
            child.stage = Stage::Ending { kill_at: None };
        }
        for index in 0..self.places.len() {
            if is_due(self.places[index].start_at) {
                self.places[index].start_at = None;
                if !self.has_begun_to_end() {
                    self.start(index, self.generation);
                }
            }
        }
        if is_due(self.notify_at)
            && let Some(interval) = self.plan.notifier.watchdog()
        {
            self.plan.notifier.notify("WATCHDOG=1");
            self.notify_at = Some(now + interval);
        }
        if let Some(path) = self.watch.as_mut().and_then(|watch| watch.look(now)) {
            inform(format_args!("ringway: {} has changed", path.display()));
            self.restart(false);
        }
    }

    /// Until the next thing is due.
    fn timeout(&self) -> Option<Duration> {
        let moments = self.children.iter().filter_map(Child::kill_at);
        let moments = moments.chain(self.places.iter().filter_map(|place| place.start_at));
        let moments = moments.chain(self.ending.as_ref().and_then(|ending| ending.begin_at));
        let moments = moments.chain(self.notify_at).chain(self.watch.as_ref().map(Watch::look_at));
        moments.min().map(|moment| moment.saturating_duration_since(Instant::now()))
    }
}

/// The exit code of a child that has failed.
fn code_of(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1)
}

/// A child that has lived so long is none that fails again and again.
const HEALTHY_TIME: Duration = Duration::from_secs(10);
/// How long a place stays empty behind the second failure in a row; doubled by each, up to the other.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(10);
