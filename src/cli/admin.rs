//! Where the server shows its numbers: the flag, and the supervisor's wait, in which they are served.

use std::io;
use std::time::Duration;

use clap::Args;

use crate::admin::Admin;
use crate::config::Address;
use crate::stats::{Board, Phase};
use crate::sys::process;

use super::serve::say;

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
}

impl Numbers {
    /// Makes a board for so many workers, and listens where its numbers are to be seen.
    ///
    /// # Errors
    /// An address that cannot be listened on, a lack of memory or descriptors.
    pub(super) fn new(addresses: &[Address], board: Board) -> io::Result<Numbers> {
        let admin = if addresses.is_empty() { None } else { Some(Admin::new(addresses, board.clone())?) };
        Ok(Numbers { board, admin })
    }

    /// What is said before the banner.
    pub(super) fn note(&self) -> Option<String> {
        self.admin.as_ref().map(|admin| format!("ringway: admin on {}", admin.places().join(", ")))
    }

    /// Says how far the server is.
    pub(super) fn set_phase(&self, phase: Phase) {
        self.board.set_phase(phase);
    }

    /// Waits for a signal, or until the time is over, and serves who asks meanwhile. It may return early.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) {
        let Some(admin) = &mut self.admin else { return process::wait(&[], timeout) };
        let timeouts = [timeout, admin.timeout()];
        process::wait(&[admin.descriptor()], timeouts.into_iter().flatten().min());
        if let Err(error) = admin.turn() {
            say(format_args!("ringway: the numbers are not shown any more: {error}"));
            self.admin = None;
        }
    }
}
