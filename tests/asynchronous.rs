//! Applications that await: what is streamed in both directions, what the limits and deadlines mean for it, and what
//! becomes of a future whose peer has gone. In memory, with a clock of the test's, and on real sockets with both drivers.
#![cfg(feature = "async")]

pub mod async_support;
pub mod support;

#[path = "asynchronous/memory.rs"]
mod memory;
#[path = "asynchronous/sockets.rs"]
mod sockets;
