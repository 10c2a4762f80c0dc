//! Conversations as data, an application for them, and two ways to play them: on the simulated kernel and on
//! sockets.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this module uses its own part of it")]

pub mod app;
pub mod script;
pub mod scripts;
pub mod simulated;
pub mod sockets;
