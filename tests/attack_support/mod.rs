//! The two sides of an attack: the server as a process whose figures can be read, and its clients, honest and not.

pub(crate) mod crowd;
pub(crate) mod honest;
pub(crate) mod server;

use std::time::Duration;

/// How long anything may take that has to happen; it is never waited for in full unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the numbers are to be those of the promise and not the short ones of the gate (`scripts/test --long`).
pub(crate) fn is_long() -> bool {
    std::env::var_os("RINGWAY_LONG").is_some_and(|value| value == "1")
}

/// Xorshift: the same seed makes the same attack.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed.max(1))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}
