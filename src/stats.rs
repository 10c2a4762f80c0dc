//! Counters: how often each limit was met, in one worker.
//!
//! A worker counts in its own [`Stats`], which nobody else writes; another thread may read them at any time.
//! This module performs no I/O and knows nothing of HTTP.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the limits with their names; the order is that of [`Limit::ALL`].
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $limit:ident $name:literal,)+) => {
        /// A limit or deadline, and with it what happened each time that it was met.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[doc = $doc])+ $limit,)+
        }

        impl Limit {
            /// Every limit.
            pub const ALL: &[Limit] = &[$(Limit::$limit),+];

            /// Its name: that of its flag, where it has one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Limit::$limit => $name,)+
                }
            }
        }
    };
}

limits! {
    /// Accepts that paused because every slot was taken.
    Connections "connections-max",
    /// Accepts that found no descriptor (`EMFILE`, `ENFILE`). There is no flag: `ulimit -n` sets it.
    Descriptors "descriptors",
    /// Requests refused with 503 because too many blocks were held.
    Blocks "blocks-max",
    /// Requests refused with 414.
    RequestLine "request-line-max",
    /// Requests refused with 431 for the size of their head.
    Head "head-max",
    /// Requests refused with 431 for the number of their fields.
    Fields "fields-max",
    /// Requests refused with 413.
    Body "body-max",
    /// Bodies that were spooled to a file.
    BodyMemory "body-memory",
    /// Requests refused with 503 because the bodies in memory were too large together.
    Bodies "bodies-max",
    /// Requests refused with 503 because a body could not be spooled.
    Spool "spool-dir",
    /// Requests refused with 400 for their chunk extensions.
    ChunkExtensions "chunk-ext-max",
    /// Requests refused with 400 because their chunks were mostly framing. It has no flag.
    ChunkOverhead "chunk-overhead",
    /// Requests refused with 400 for the size of their trailer.
    Trailer "trailer-max",
    /// Requests refused with 400 for the number of their trailer fields.
    Trailers "trailers-max",
    /// Connections closed because a head, or its first byte, did not come in time.
    HeadTimeout "head-timeout",
    /// Requests refused with 408 because no byte of their body came in time.
    BodyIdle "body-idle",
    /// Connections closed because a body came, or a response was taken, too slowly.
    Rate "rate-min",
    /// Connections closed because nothing of a response was taken in time.
    WriteIdle "write-idle",
    /// Connections closed between two requests.
    Keepalive "keepalive",
    /// Connections closed because the peer did not close after the server had half-closed, or did not send the rest
    /// of a refused body, in time.
    Linger "linger-timeout",
    /// Connections closed because the unread body of a refused request was too large to be read away.
    Drain "drain-max",
    /// Times that a connection had to let the others go first.
    Turn "turn-max",
    /// Times that the receive of a connection was held back because it was ahead. It has no flag.
    ReadAhead "read-ahead",
    /// Connections with a request in service that were cut at the end of a drain.
    Graceful "graceful-timeout",
}

/// The counters of one worker. Its thread alone writes them, so a count costs no locked instruction; the
/// alignment keeps them off the cache lines of another worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Stats {
    counts: [AtomicU64; Limit::ALL.len()],
}

/// A copy of the counters, or the sum of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    counts: [u64; Limit::ALL.len()],
}

impl Stats {
    /// Counts a limit that was met. Only the worker's own thread calls it.
    pub fn note(&self, limit: Limit) {
        let count = &self.counts[limit as usize];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The counters as they are now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { counts: std::array::from_fn(|index| self.counts[index].load(Ordering::Relaxed)) }
    }
}

impl Counts {
    /// How often a limit was met.
    #[must_use]
    pub fn of(&self, limit: Limit) -> u64 {
        self.counts[limit as usize]
    }

    /// The limits that were met, and how often.
    pub fn met(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.iter().map(|limit| (*limit, self.of(*limit))).filter(|(_, count)| *count > 0)
    }

    /// Adds those of another worker.
    pub fn add(&mut self, other: &Counts) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count = count.wrapping_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_counted_and_added_up() {
        let stats = Stats::default();
        stats.note(Limit::Body);
        stats.note(Limit::Body);
        stats.note(Limit::Turn);
        let mut sum = stats.counts();
        sum.add(&stats.counts());
        assert_eq!(sum.met().collect::<Vec<_>>(), [(Limit::Body, 4), (Limit::Turn, 2)]);
    }

    #[test]
    fn names_are_distinct() {
        for (index, limit) in Limit::ALL.iter().enumerate() {
            assert_eq!(*limit as usize, index);
            assert!(Limit::ALL[index + 1..].iter().all(|other| other.name() != limit.name()));
        }
    }
}
