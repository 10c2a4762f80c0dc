//! The wire cases as data, and the one check that every front end runs them through.
//!
//! In reading order: [`case`] reads `tests/wire/*.http`, [`front_end`] is what an implementation offers,
//! [`reply`] reads what it sent back, [`judge`] compares, [`check`] feeds a case in five ways, and [`socket`]
//! is the front end for any server that listens. The format is described in `tests/wire/README.md`.
//! Nothing here uses the crate's own parser: a fault shared by both sides would not be seen.
#![allow(dead_code, reason = "each test program that includes this module uses its own part of it")]

pub mod case;
pub mod check;
pub mod escape;
pub mod front_end;
pub mod judge;
pub mod reply;
pub mod socket;
