//! What the tests of applications that await share: services of the tower family and routers of axum, things to be awaited.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this module uses its own part of it")]

pub mod namesakes;
pub mod routers;
pub mod signal;
pub mod site;
pub mod sockets;
