//! Child processes by their ids: what they inherit, how they are told to end, and who has ended.
//!
//! Ids and not [`std::process::Child`]: a supervisor that has executed itself anew has children that it did not start,
//! and as process 1 it is given orphans to bury.

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::ptr;

use super::process::{CAUGHT, has_signal};

pub use libc::SIGTERM;

/// A signal to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `SIGTERM`: take what is queued, finish what runs, end.
    Drain,
    /// `SIGUSR2`: leave what is queued to a successor, finish what runs, end.
    Retire,
    /// `SIGUSR1`: open the logs anew.
    Reopen,
    /// `SIGKILL`.
    Kill,
}

/// Has what `command` starts inherit these descriptors under their numbers.
pub fn bequeath(command: &mut Command, descriptors: Vec<RawFd>) {
    // SAFETY: the closure makes async-signal-safe calls only and allocates nothing.
    unsafe {
        command.pre_exec(move || descriptors.iter().try_for_each(|descriptor| set_close_on_exec(*descriptor, false)));
    }
}

/// Replaces this process by `command`, which inherits these descriptors under their numbers. Signals that are caught are
/// held back until the program that comes catches them. Returns only where that failed, with everything as it was;
/// `Interrupted` where one had come before.
pub fn replace(command: &mut Command, descriptors: &[RawFd]) -> io::Error {
    // SAFETY: every pointer is valid for its call, and a filled set is a valid one.
    let before = unsafe {
        let (mut caught, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut caught);
        CAUGHT.iter().for_each(|signal| {
            libc::sigaddset(&mut caught, *signal);
        });
        libc::pthread_sigmask(libc::SIG_BLOCK, &caught, &mut before);
        before
    };
    let is_quiet = if has_signal() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) };
    let error = is_quiet
        .and_then(|()| descriptors.iter().try_for_each(|descriptor| set_close_on_exec(*descriptor, false)))
        .err()
        .unwrap_or_else(|| command.exec());
    for descriptor in descriptors {
        // It was just cleared, so that the descriptor is open.
        let _ = set_close_on_exec(*descriptor, true);
    }
    // SAFETY: the set was filled by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
    error
}

fn set_close_on_exec(descriptor: RawFd, is_closed: bool) -> io::Result<()> {
    let flags = if is_closed { libc::FD_CLOEXEC } else { 0 };
    // SAFETY: fcntl with F_SETFD takes any number and no pointer, and is async-signal-safe.
    match unsafe { libc::fcntl(descriptor, libc::F_SETFD, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends a signal to a child that has not been reaped.
pub fn order(id: i32, order: Order) {
    let signal = match order {
        Order::Drain => libc::SIGTERM,
        Order::Retire => libc::SIGUSR2,
        Order::Reopen => libc::SIGUSR1,
        Order::Kill => libc::SIGKILL,
    };
    // SAFETY: kill takes no pointer, and the id of a child that has not been reaped is nobody else's.
    unsafe { libc::kill(id, signal) };
}

/// A child that has ended and how, if there is one; also an orphan that this process was given.
#[must_use]
pub fn reap() -> Option<(i32, ExitStatus)> {
    let mut status = 0;
    // SAFETY: the pointer is valid for the call, which does not wait.
    let id = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (id > 0).then(|| (id, ExitStatus::from_raw(status)))
}

/// The name of a signal that ends processes.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.into()
}
