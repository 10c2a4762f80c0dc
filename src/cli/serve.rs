//! Serving until a signal: the banner, the drain, and what is said at the end.

use std::fmt;
use std::io;
use std::panic;
use std::time::{Duration, Instant};

use crate::config::{Config, Io, duration_text};
use crate::diagnostics::{Level, say, say_patiently};
use crate::server::listeners::Listeners;
use crate::server::{Factory, Panicked, Running, Server, Shares};
use crate::stats::{Board, Counts, Phase};
use crate::sys::process::{self, Signal};
use crate::sys::service::Notifier;
use crate::worker::Outcome;

use super::Exit;
use super::admin::Numbers;
use super::operate::{Ground, PidFile};
use super::python;
use super::role::{Means, Reports, Role};

/// What this process stands on while it serves.
pub(super) enum Base {
    /// A supervisor, which has bound and does the rest.
    Child { role: Role, max_requests: Option<u64>, is_reloading: bool },
    /// Itself.
    Alone { ground: Box<Ground>, notifier: Notifier, drain_delay: Duration },
}

/// What is removed at the end: the files of unix sockets, and the one with the process id.
type Kept = (Listeners, Option<PidFile>);

/// Who is to be told how it goes.
enum Told {
    Supervisor { reports: Reports, max_requests: Option<u64> },
    Service { notifier: Notifier, numbers: Box<Numbers>, drain_delay: Duration },
}

/// Serves, and answers with the exit code.
pub(super) fn serve(mut config: Config, make: Factory, shown: &str, base: Base) -> Exit {
    shorten_panics();
    if let Err(error) = process::catch_signals() {
        return failed(&error);
    }
    let graceful_timeout = config.graceful_timeout;
    let wanted_count = config.connection_count_max;
    let mut kept: Option<Kept> = None;
    let worker_count = config.worker_count.max(1);
    let (shares, rows, told, is_reloading) = match base {
        Base::Child { role, max_requests, is_reloading } => {
            let Means { shares, rows, reports } = role.apply(&mut config);
            // Its supervisor tells the kernel who is to be refused.
            let shares = Shares { sockets: shares, own: Vec::new() };
            (shares, rows, Told::Supervisor { reports, max_requests }, is_reloading)
        }
        Base::Alone { ground, notifier, drain_delay } => {
            let Ground { mut listeners, admin, pid_file } = *ground;
            let shares = listeners.take();
            kept = Some((listeners, pid_file));
            let numbers = match Board::private(worker_count).and_then(|board| Numbers::new(board, admin)) {
                Ok(numbers) => numbers,
                Err(error) => return failed(&error),
            };
            numbers.board.set_worker_count(worker_count);
            let rows = (0..worker_count).map(|index| numbers.board.row(index)).collect();
            (shares, Some(rows), Told::Service { notifier, numbers: Box::new(numbers), drain_delay }, false)
        }
    };
    let server = Server::new(config, move || make()).on(shares).on_end(process::signal_look);
    let server = match rows {
        Some(rows) => server.counting(rows),
        None => server,
    };
    let running = match server.start() {
        Ok(running) => running,
        Err(error) => return failed(&error),
    };
    let notes = notes(&running, wanted_count);
    let io = match running.io() {
        Io::Epoll => "epoll",
        Io::Auto | Io::Uring => "io_uring",
    };
    match &told {
        Told::Supervisor { reports, .. } => {
            if is_reloading {
                reports.sources(&python::sources());
            }
            reports.ready(&notes, io);
        }
        Told::Service { notifier, numbers, .. } => {
            numbers.set_phase(Phase::Serving);
            notes.iter().for_each(|note| caution(format_args!("{note}")));
            numbers.note().iter().for_each(|note| inform(format_args!("{note}")));
            let places = kept.as_ref().map_or(&[][..], |(listeners, _)| &listeners.places);
            banner(shown, places, running.worker_count(), io);
            notifier.notify("READY=1");
        }
    }
    Watchman::new(running, told, graceful_timeout, kept).watch()
}

/// One line for each panic outside an application. Inside one, the server has its own line.
fn shorten_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("panic").replace('\n', " ");
        say(
            Level::Error,
            format_args!("ringway: thread {} failed at {place}: {message}", thread.name().unwrap_or("without a name")),
        );
    }));
}

/// What is to be said before the banner.
fn notes(running: &Running, wanted_count: Option<usize>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(refusal) = running.refusal() {
        notes.push(format!("ringway: {refusal}; epoll serves instead"));
    }
    let connection_count_max = running.connection_count_max();
    if let Some(wanted) = wanted_count.filter(|wanted| *wanted > connection_count_max) {
        notes.push(format!(
            "ringway: --connections-max {wanted} needs more descriptors than there are; {connection_count_max} at a \
             time are served (raise ulimit -Hn)"
        ));
    }
    notes
}

/// The line that says that all workers serve.
pub(super) fn banner(shown: &str, places: &[String], worker_count: usize, io: &str) {
    let workers = match worker_count {
        1 => "1 worker".to_string(),
        count => format!("{count} workers"),
    };
    let places = places.join(", ");
    inform(format_args!("ringway {}: {shown} on {places} ({workers}, {io})", env!("CARGO_PKG_VERSION")));
}

/// Waits for signals, and for workers that end.
struct Watchman {
    running: Running,
    told: Told,
    graceful_timeout: Duration,
    /// What the rows had counted before these workers.
    before: Counts,
    kept: Option<Kept>,
    /// Whether the end has been asked for.
    is_ending: bool,
    /// When the drain begins, until it has.
    drain_at: Option<Instant>,
    /// When a call that does not return is left, once the drain has begun.
    leave_at: Option<Instant>,
    is_interrupted: bool,
    /// When to say that this process lives, and to see whether it has served enough.
    look_at: Option<Instant>,
    look_every: Duration,
}

impl Watchman {
    fn new(running: Running, told: Told, graceful_timeout: Duration, kept: Option<Kept>) -> Watchman {
        let every = match &told {
            Told::Supervisor { max_requests, .. } => max_requests.map(|_| COUNT_EVERY),
            Told::Service { notifier, .. } => notifier.watchdog(),
        };
        let (look_at, look_every) = (every.map(|_| Instant::now()), every.unwrap_or_default());
        Watchman {
            before: running.counts(),
            kept,
            running,
            told,
            graceful_timeout,
            is_ending: false,
            drain_at: None,
            leave_at: None,
            is_interrupted: false,
            look_at,
            look_every,
        }
    }

    fn watch(mut self) -> Exit {
        while !self.running.is_finished() {
            match process::next_signal() {
                Ok(Some(Signal::Interrupt)) if self.is_interrupted => {
                    self.running.abandon();
                    return Exit::abrupt(INTERRUPTED);
                }
                Ok(Some(signal)) => self.on_signal(signal),
                Ok(None) => self.wait(),
                Err(error) => return failed(&error),
            }
            self.keep_time();
            if self.is_left() {
                let timeout = duration_text(self.graceful_timeout);
                caution(format_args!(
                    "ringway: a call of the application goes on past the graceful timeout of {timeout}; it is left"
                ));
                self.running.abandon();
                return Exit::abrupt(1);
            }
        }
        self.end()
    }

    fn wait(&mut self) {
        let timeout = self.timeout();
        match &mut self.told {
            Told::Service { numbers, .. } => numbers.wait(Vec::new(), timeout),
            Told::Supervisor { .. } => process::wait(&[], timeout),
        }
    }

    fn on_signal(&mut self, signal: Signal) {
        let is_alone = matches!(self.told, Told::Service { .. });
        match signal {
            // A terminal sends both to the supervisor too, which decides.
            Signal::Interrupt | Signal::Hangup if !is_alone => {}
            Signal::Terminate | Signal::Interrupt => {
                self.is_interrupted |= signal == Signal::Interrupt;
                self.begin_end();
            }
            Signal::Replace if !is_alone => {
                self.running.retire();
                self.begin_to_leave();
            }
            Signal::Hangup | Signal::Replace => {
                caution(format_args!(
                    "ringway: without a supervisor nothing is started anew; end with SIGTERM and start again"
                ));
            }
            Signal::Reopen => self.running.reopen_logs(),
            // One worker that failed ends the process: half of it would look whole from outside.
            Signal::Look if self.running.ended_count() > 0 && self.leave_at.is_none() => {
                if let Told::Service { numbers, .. } = &self.told {
                    numbers.set_phase(Phase::Draining);
                }
                self.running.stop();
            }
            Signal::Look => {}
        }
    }

    /// Begins the drain, or the delay before it; a second time without the delay.
    fn begin_end(&mut self) {
        let delay = match &self.told {
            Told::Service { notifier, numbers, drain_delay } if !self.is_ending => {
                notifier.notify("STOPPING=1");
                numbers.set_phase(Phase::Draining);
                *drain_delay
            }
            Told::Service { .. } | Told::Supervisor { .. } => Duration::ZERO,
        };
        self.is_ending = true;
        self.drain_at = Some(Instant::now() + delay);
    }

    fn begin_to_leave(&mut self) {
        // The workers cut at the timeout what they can; a call that does not return they cannot.
        self.leave_at = self.leave_at.or(Instant::now().checked_add(self.graceful_timeout + CUT_TIME));
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if self.drain_at.is_some_and(|moment| moment <= now) {
            self.drain_at = None;
            // Files that are gone refuse those who would come to a unix socket.
            self.kept.iter_mut().for_each(|(listeners, _)| listeners.close());
            self.running.drain();
            self.begin_to_leave();
        }
        if self.look_at.is_some_and(|moment| moment <= now) {
            self.look_at = Some(now + self.look_every);
            match &mut self.told {
                Told::Service { notifier, .. } => notifier.notify("WATCHDOG=1"),
                Told::Supervisor { reports, max_requests } => {
                    let served_count = self.running.counts().since(&self.before).response_count();
                    if max_requests.is_some_and(|max| served_count >= max) {
                        reports.spent();
                        *max_requests = None;
                        self.look_at = None;
                    }
                }
            }
        }
    }

    /// Whether a call has outlasted all patience.
    fn is_left(&self) -> bool {
        self.leave_at.is_some_and(|moment| moment <= Instant::now()) && !self.running.is_finished()
    }

    fn timeout(&self) -> Option<Duration> {
        let moments = [self.drain_at, self.leave_at, self.look_at];
        moments.iter().flatten().min().map(|moment| moment.saturating_duration_since(Instant::now()))
    }

    /// All workers have ended.
    fn end(self) -> Exit {
        let counts = self.running.counts().since(&self.before);
        let is_draining = self.leave_at.is_some();
        let exit = match self.running.join() {
            Ok(Outcome { cut_count: 0 }) if is_draining => Exit::SUCCESS,
            Ok(Outcome { cut_count }) if is_draining => {
                let connections = if cut_count == 1 { "connection was" } else { "connections were" };
                let timeout = duration_text(self.graceful_timeout);
                caution(format_args!("ringway: {cut_count} {connections} cut at the graceful timeout of {timeout}"));
                Exit::FAILURE
            }
            Ok(_) => failed(&io::Error::other("the workers ended without being asked to")),
            Err(error) => failed(&error),
        };
        report_limits(&counts);
        exit
    }
}

/// Which limits the peers have met, and how often, in one line.
fn report_limits(counts: &Counts) {
    let met: Vec<String> = counts.met().map(|(limit, count)| format!("{} {count}", limit.name())).collect();
    if !met.is_empty() {
        inform(format_args!("ringway: how often limits were met: {}", met.join(", ")));
    }
}

/// Says what an operator likes to know.
pub(super) fn inform(line: fmt::Arguments<'_>) {
    say_patiently(Level::Info, line);
}

/// Says that something is not as it was wanted.
pub(super) fn caution(line: fmt::Arguments<'_>) {
    say_patiently(Level::Warn, line);
}

/// Says that something failed.
pub(super) fn complain(line: fmt::Arguments<'_>) {
    say_patiently(Level::Error, line);
}

pub(super) fn failed(error: &io::Error) -> Exit {
    // A panic had its line from the hook, with the place.
    if !error.get_ref().is_some_and(|inner| inner.is::<Panicked>()) {
        complain(format_args!("ringway: {error}"));
    }
    Exit::FAILURE
}

/// How often a process that is to serve so many requests counts them.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// What workers may take to cut what is left at the graceful timeout.
const CUT_TIME: Duration = Duration::from_secs(1);
/// As a shell reports a process that SIGINT ended.
pub(super) const INTERRUPTED: u8 = 130;
