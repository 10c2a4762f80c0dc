//! The sizes and deadlines of a connection, and whom it believes. Values only.

use std::time::Duration;

use crate::buffer::BLOCK_SIZE;
use crate::http::chunked::ChunkedLimits;
use crate::http::head::{FIELD_COUNT_MAX, HeadLimits};
use crate::http::proxies::Proxies;

/// What a peer may take of us.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sizes within a head; past them 414 or 431.
    pub head: HeadLimits,
    /// Sizes within a body; past `body_max` 413, also for a declared Content-Length.
    pub body: ChunkedLimits,
    /// Bytes of a body that are kept in memory; a larger one is spooled to a file.
    pub body_memory: u64,
    /// Bytes of all bodies that a worker has in memory while they arrive; past it 503.
    pub bodies_max: u64,
    /// From the accept to the first byte, and from the first byte of a head to its last.
    pub head_timeout: Duration,
    /// Without a byte of a body that is awaited.
    pub body_idle: Duration,
    /// Bytes a second that a peer must send of a body, or take of a response, in every minute; 0 is none.
    pub rate_min: u64,
    /// Without a request on an open connection.
    pub keepalive: Duration,
    /// For a send without the peer taking a byte.
    pub write_idle: Duration,
    /// For the peer to close after we have half-closed.
    pub linger_timeout: Duration,
    /// Bytes of a refused body that are read away, within the linger timeout, to keep the connection.
    pub drain_max: u64,
    /// Steps of one connection in one turn: a request takes one.
    pub turn_max: usize,
    /// The peers whose word about others is taken; nobody's by default.
    pub proxies: Proxies,
}

impl Limits {
    /// How long a connection may wait between two requests. While most connections that there may be are open,
    /// no longer than two seconds: somebody else may need it more.
    #[must_use]
    pub fn keepalive(&self, is_crowded: bool) -> Duration {
        if is_crowded { self.keepalive.min(KEEPALIVE_CROWDED) } else { self.keepalive }
    }
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
            body_memory: 1024 * 1024,
            bodies_max: 256 * 1024 * 1024,
            head_timeout: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            rate_min: 240,
            keepalive: Duration::from_secs(60),
            write_idle: Duration::from_secs(30),
            linger_timeout: Duration::from_secs(2),
            drain_max: 64 * 1024,
            turn_max: 32,
            proxies: Proxies::default(),
        }
    }
}

const KEEPALIVE_CROWDED: Duration = Duration::from_secs(2);
