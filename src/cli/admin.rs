//! Where the server shows its numbers: the flag, and the wait of whoever supervises, in which they are served.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use clap::Args;

use crate::admin::Admin;
use crate::config::Address;
use crate::server::listeners::Listeners;
use crate::stats::{Board, Phase};
use crate::sys::process;

use super::serve::caution;

/// The flags of the numbers.
#[derive(Debug, Args)]
pub(super) struct AdminFlags {
    /// Show the server's numbers on an address, as --bind has them: /metrics, /status.json, /healthz, /readyz, and a
    /// page at / (repeatable; separated by commas in the variable) [default: nowhere]
    #[arg(long, value_name = "ADDRESS", env = "RINGWAY_ADMIN", value_delimiter = ',')]
    pub(super) admin: Vec<Address>,
}

/// The numbers of the workers that this process supervises, and who serves them.
pub(super) struct Numbers {
    pub(super) board: Board,
    admin: Option<Admin>,
    /// Kept for the files of unix sockets.
    _listeners: Listeners,
}

impl Numbers {
    /// Shows what is on the board to those who come to the listeners, if there are any.
    ///
    /// # Errors
    /// A lack of memory or descriptors.
    pub(super) fn new(board: Board, mut listeners: Listeners) -> io::Result<Numbers> {
        let is_shown = !listeners.places.is_empty();
        let admin = is_shown.then(|| Admin::new(&mut listeners, board.clone())).transpose()?;
        Ok(Numbers { board, admin, _listeners: listeners })
    }

    /// What is said before the banner.
    pub(super) fn note(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| format!("ringway: admin on {}", admin.places().join(", ")))
    }

    /// Says how far the server is.
    pub(super) fn set_phase(&self, phase: Phase) {
        self.board.set_phase(phase);
    }

    /// The listening sockets, for who takes this process over.
    pub(super) fn listeners(&self) -> &[RawFd] {
        self.admin.as_ref().map_or(&[], Admin::listeners)
    }

    /// Waits for a signal, for one of the descriptors or until the time is over, and serves who asks meanwhile. It may
    /// return early.
    pub(super) fn wait(&mut self, mut descriptors: Vec<RawFd>, timeout: Option<Duration>) {
        let Some(admin) = &mut self.admin else { return process::wait(&descriptors, timeout) };
        descriptors.push(admin.descriptor());
        process::wait(&descriptors, [timeout, admin.timeout()].into_iter().flatten().min());
        if let Err(error) = admin.turn() {
            caution(format_args!("ringway: the numbers are not shown any more: {error}"));
            self.admin = None;
        }
    }
}
