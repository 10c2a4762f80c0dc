//! What the tests of whole connections share: the fixture applications, and a connection in memory.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this module uses its own part of it")]

pub mod fixtures;
pub mod memory;
pub mod thorn;
