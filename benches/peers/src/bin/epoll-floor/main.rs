//! A bare epoll loop on one thread: `epoll-floor PORT [--body BYTES | --echo]`.
//!
//! It is the control of every measurement, the most that readiness can do: edge-triggered, so that a
//! connection is added once and never re-armed; one receive and one send a readiness, because a receive
//! that did not fill its buffer has emptied the socket; one buffer for all connections, always in cache.
//! [`canned`] answers requests without bodies, and [`echo`] those with; they are two loops so that the first
//! pays nothing for the second. What httparse sees and what is answered are the same as in `ring-floor`.

mod canned;
mod echo;
mod poll;

use std::process::ExitCode;

fn main() -> ExitCode {
    ringway_peers::arguments::run(
        "epoll-floor",
        |listener, answers| canned::Floor::new(poll::Poll::new(listener)?, answers).serve(),
        |listener| echo::Floor::new(poll::Poll::new(listener)?).serve(),
    )
}
