//! The two sides of an attack: the server as a process whose figures can be read, and its clients, honest and not.

#![allow(dead_code, reason = "each test program that includes this module uses its own part of it")]

pub(crate) mod attacked;
pub(crate) mod crowd;
pub(crate) mod honest;
pub(crate) mod server;

use std::time::Duration;

use ringway::driver::sim::Chance;

pub(crate) use attacked::Attacked;

/// How long anything may take that has to happen; it is never waited for in full unless something is wrong.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the numbers are to be those of the promise and not the short ones of the gate (`scripts/test --long`).
pub(crate) fn is_long() -> bool {
    std::env::var_os("RINGWAY_LONG").is_some_and(|value| value == "1")
}

/// Numbers below a bound, drawn from a seed: the same seed makes the same attack.
pub(crate) fn drawn(seed: u64) -> impl FnMut(usize) -> usize {
    let mut chance = Chance::new(seed);
    move |bound| usize::try_from(chance.below(bound as u64)).unwrap_or(0)
}
