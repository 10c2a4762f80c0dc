//! A bare io_uring loop on one thread: `ring-floor PORT [--body BYTES | --echo]`.
//!
//! It is the base of every measurement, the least that a request can cost on a ring:
//!
//! 1. one multishot accept into direct descriptors, so that no operation looks up a file by number;
//! 2. one multishot receive a connection, which takes its buffer from a ring of 64 only when bytes are there;
//! 3. all answers of a receive in one send that the kernel itself completes (MSG_WAITALL);
//! 4. one `io_uring_enter` a turn: it submits, runs the deferred task work and waits, all at once;
//! 5. a closing answer, the end of the receive and the close as one hard-linked chain.
//!
//! A loop like this loses to epoll by one fault in its setup, so each flag has its reason in [`ring`]. [`canned`]
//! answers requests without bodies, and [`echo`] those with; they are two services, each compiled on its own, so that the
//! first pays nothing for the second. What httparse sees and what is answered are the same as in `epoll-floor`.

mod buffers;
mod canned;
mod echo;
mod ring;

use ring::Service;
use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_peers::arguments::run(
        "ring-floor",
        |listener, answers| canned::Floor::new(ring::Ring::new(&mut ring::build()?, listener)?, answers).serve(),
        |listener| echo::Floor::new(ring::Ring::new(&mut ring::build()?, listener)?).serve(),
    )
}
