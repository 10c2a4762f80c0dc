//! What the tests of applications that await share: services of the tower family, and things to be awaited.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this module uses its own part of it")]

pub mod namesakes;
pub mod signal;
pub mod sockets;
