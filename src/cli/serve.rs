//! Serving until a signal: the banner, the drain, and what is said at the end.

use std::fmt;
use std::io::{self, Write};
use std::panic;
use std::time::{Duration, Instant};

use crate::config::{Address, Config, Io, duration_text};
use crate::server::{Factory, Panicked, Running, Server};
use crate::stats::{Board, Counts, Phase};
use crate::sys::process::{self, Signal};
use crate::worker::Outcome;

use super::Exit;
use super::admin::Numbers;
use super::processes::Role;

/// Serves, and answers with the exit code.
pub(super) fn serve(mut config: Config, make: Factory, shown: &str, admin: &[Address], role: Option<Role>) -> Exit {
    shorten_panics();
    if let Err(error) = process::catch_signals() {
        return failed(&error);
    }
    let is_child = role.is_some();
    if let Some(role) = &role {
        role.apply(&mut config);
    }
    let graceful_timeout = config.graceful_timeout;
    let wanted_count = config.connection_count_max;
    let worker_count = config.worker_count.max(1);
    // A child's numbers are its parent's to show.
    let admin = if is_child { &[] } else { admin };
    let numbers = match Board::private(worker_count).and_then(|board| Numbers::new(admin, board)) {
        Ok(numbers) => numbers,
        Err(error) => return failed(&error),
    };
    numbers.board.set_worker_count(worker_count);
    let server = Server::new(config, move || make()).on_end(process::signal_look).board(numbers.board.clone(), 0);
    match server.start() {
        Ok(running) => {
            let mut notes = notes(&running, wanted_count);
            notes.extend(numbers.note());
            numbers.set_phase(Phase::Serving);
            let io = match running.io() {
                Io::Epoll => "epoll",
                Io::Auto | Io::Uring => "io_uring",
            };
            if let Some(role) = role {
                role.ready(&notes, io);
            } else {
                notes.iter().for_each(|note| say(format_args!("{note}")));
                banner(shown, running.places(), running.worker_count(), io);
            }
            supervise(running, numbers, graceful_timeout, is_child)
        }
        Err(error) => failed(&error),
    }
}

/// One line for each panic outside an application. Inside one, the server has its own line.
fn shorten_panics() {
    panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("panic").replace('\n', " ");
        say(format_args!("ringway: thread {} failed at {place}: {message}", thread.name().unwrap_or("without a name")));
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
    say(format_args!("ringway {}: {shown} on {places} ({workers}, {io})", env!("CARGO_PKG_VERSION")));
}

/// Waits for signals, and for workers that end.
fn supervise(running: Running, mut numbers: Numbers, graceful_timeout: Duration, is_child: bool) -> Exit {
    let mut is_draining = false;
    let mut is_interrupted = false;
    let mut end_at = None;
    while !running.is_finished() {
        let left = end_at.map(|end: Instant| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            let timeout = duration_text(graceful_timeout);
            say(format_args!(
                "ringway: a call of the application goes on past the graceful timeout of {timeout}; it is left"
            ));
            running.abandon();
            return Exit::abrupt(1);
        }
        match process::next_signal() {
            // A terminal sends both to the parent too, which decides.
            Ok(Some(Signal::Interrupt | Signal::Hangup)) if is_child => {}
            Ok(Some(Signal::Interrupt)) if is_interrupted => {
                running.abandon();
                return Exit::abrupt(INTERRUPTED);
            }
            Ok(Some(signal @ (Signal::Terminate | Signal::Interrupt))) => {
                is_interrupted |= signal == Signal::Interrupt;
                is_draining = true;
                numbers.set_phase(Phase::Draining);
                // The workers cut at the timeout what they can; a call that does not return they cannot.
                end_at = end_at.or(Instant::now().checked_add(graceful_timeout + CUT_TIME));
                running.drain();
            }
            Ok(Some(Signal::Hangup)) => {
                say(format_args!("ringway: SIGHUP is ignored; end with SIGTERM and start again"))
            }
            // One worker that failed ends the server: half of it would look whole from outside.
            Ok(Some(Signal::Look)) if running.ended_count() > 0 && !is_draining => {
                numbers.set_phase(Phase::Draining);
                running.stop();
            }
            Ok(Some(Signal::Look)) => {}
            Ok(None) => numbers.wait(left),
            Err(error) => return failed(&error),
        }
    }
    let counts = running.counts();
    let code = match running.join() {
        Ok(Outcome { cut_count: 0 }) if is_draining => Exit::SUCCESS,
        Ok(Outcome { cut_count }) if is_draining => {
            let connections = if cut_count == 1 { "connection was" } else { "connections were" };
            let timeout = duration_text(graceful_timeout);
            say(format_args!("ringway: {cut_count} {connections} cut at the graceful timeout of {timeout}"));
            Exit::FAILURE
        }
        Ok(_) => failed(&io::Error::other("the workers ended without being asked to")),
        Err(error) => failed(&error),
    };
    report_limits(&counts);
    code
}

/// Which limits the peers have met, and how often, in one line.
fn report_limits(counts: &Counts) {
    let met: Vec<String> = counts.met().map(|(limit, count)| format!("{} {count}", limit.name())).collect();
    if !met.is_empty() {
        say(format_args!("ringway: how often limits were met: {}", met.join(", ")));
    }
}

/// One line on stderr. Where nobody takes it, the server goes on, which it would not after eprintln!.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

pub(super) fn failed(error: &io::Error) -> Exit {
    // A panic had its line from the hook, with the place.
    if !error.get_ref().is_some_and(|inner| inner.is::<Panicked>()) {
        say(format_args!("ringway: {error}"));
    }
    Exit::FAILURE
}

/// What workers may take to cut what is left at the graceful timeout.
const CUT_TIME: Duration = Duration::from_secs(1);
/// As a shell reports a process that SIGINT ended.
pub(super) const INTERRUPTED: u8 = 130;
