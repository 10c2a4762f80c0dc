//! How the server's main thread speaks to a worker: one word, and the waker. Nothing on the request path.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::sys::Waker;

/// What a worker has been asked to do.
#[derive(Debug)]
pub struct Control {
    word: AtomicU8,
    waker: Waker,
}

/// The words, each stronger than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Word {
    Serve,
    Retire,
    Drain,
    Stop,
}

impl Control {
    /// For the worker whose driver has this waker.
    #[must_use]
    pub fn new(waker: Waker) -> Control {
        Control { word: AtomicU8::new(Word::Serve as u8), waker }
    }

    /// Leave the listen queue to a successor that shares it, finish what runs, then end.
    pub fn retire(&self) {
        self.say(Word::Retire);
    }

    /// Take what is in the listen queue, finish what runs, then end.
    pub fn drain(&self) {
        self.say(Word::Drain);
    }

    /// Cut everything and end.
    pub fn stop(&self) {
        self.say(Word::Stop);
    }

    /// The waker.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    pub(super) fn word(&self) -> Word {
        match self.word.load(Ordering::Acquire) {
            0 => Word::Serve,
            1 => Word::Retire,
            2 => Word::Drain,
            _ => Word::Stop,
        }
    }

    fn say(&self, word: Word) {
        self.word.fetch_max(word as u8, Ordering::AcqRel);
        self.waker.wake();
    }
}
