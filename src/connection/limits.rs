//! The sizes and deadlines of a connection. Numbers only.

use std::time::Duration;

use crate::buffer::BLOCK_SIZE;
use crate::http::chunked::ChunkedLimits;
use crate::http::head::{FIELD_COUNT_MAX, HeadLimits};

/// What a peer may take of us.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sizes within a head; past them 414 or 431.
    pub head: HeadLimits,
    /// Sizes within a body; past `body_max` 413, also for a declared Content-Length.
    pub body: ChunkedLimits,
    /// From the accept to the first byte, and from the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Without a byte of a body that is awaited.
    pub body_idle: Duration,
    /// Without a request on an open connection.
    pub keepalive: Duration,
    /// For a send without the peer taking a byte; it is looked at once in this time.
    pub write_idle: Duration,
    /// For the peer to close after we have half-closed.
    pub linger_timeout: Duration,
    /// Bytes of a refused body that are read away, within the linger timeout, to keep the connection.
    pub drain_max: u64,
    /// Steps of one connection in one turn: a request takes one.
    pub turn_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head: HeadLimits { request_line_max: 8 * 1024, head_max: BLOCK_SIZE, field_count_max: FIELD_COUNT_MAX },
            body: ChunkedLimits {
                body_max: 1024 * 1024,
                extension_max: 4 * 1024,
                trailer_max: 8 * 1024,
                trailer_count_max: 32,
            },
            head_timeout: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            keepalive: Duration::from_secs(60),
            write_idle: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            drain_max: 64 * 1024,
            turn_max: 32,
        }
    }
}
