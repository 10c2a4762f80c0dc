//! What the servers and the generator of this crate share.
//!
//! A floor is the least that a server can do for a request: parse its head with httparse and send an
//! answer rendered before the first connection, or the request's own body. It has no limits beyond its
//! buffers, no deadlines and no interface, so what it costs is the kernel's price. Sharing everything here
//! leaves the floors with one difference, which is how they ask the kernel.
//!
//! - [`arguments`]: the command line of a floor, and its listener.
//! - [`exchange`]: canned answers, and a connection that wants no more than them.
//! - [`echo`]: a connection whose requests have bodies, which are the answers.
//! - [`date`]: the Date field's value.
//! - [`field`]: the command line of the frameworks, and the bodies that they answer with.
//! - [`asynchronous`] (feature `field`): an axum application for two servers, and Ringway as a library.
//! - [`schedule`], [`reply`], [`latencies`]: the constant-rate generator without its sockets.
//!
//! Only [`arguments::listen`], [`asynchronous::serve`] and the two `run` perform I/O.

pub mod arguments;
#[cfg(feature = "field")]
pub mod asynchronous;
pub mod date;
pub mod echo;
pub mod exchange;
pub mod field;
pub mod latencies;
pub mod reply;
pub mod schedule;

/// Bytes that one receive may bring, and the most that an unfinished head may hold.
pub const RECEIVE_SIZE: usize = 16 * 1024;

/// The peer sent something that is not a request, or one that is too large.
#[derive(Debug)]
pub struct Malformed;

/// Whether the connection ends after the answer to this request.
fn asks_to_close(request: &httparse::Request<'_, '_>) -> bool {
    request.version == Some(0)
        || request
            .headers
            .iter()
            .any(|field| field.name.eq_ignore_ascii_case("connection") && field.value.eq_ignore_ascii_case(b"close"))
}
