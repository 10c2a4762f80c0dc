//! A simulated peer: what it sends, how slowly, how it takes what it gets, and how it leaves. No I/O.

use std::collections::VecDeque;
use std::fmt;

use super::chance::Chance;

/// How the worker has ended a connection, as the peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Not at all.
    Open,
    /// It has finished sending.
    Finished,
    /// It has closed, and everything the peer sent was read.
    Closed,
    /// It has closed with bytes unread, which resets the connection.
    Reset,
}

/// One peer, from its connection to its end.
#[derive(Clone, Debug)]
pub struct SimPeer {
    segments: VecDeque<Vec<u8>>,
    /// Whether a segment waits until the one before has been received.
    is_stepwise: bool,
    /// Turns that it lets pass between two segments, at most.
    pause_max: u64,
    pause: u64,
    finishes: bool,
    /// It resets the connection once it has sent this many segments.
    reset_after: Option<usize>,
    sent_count: usize,
    /// It takes what it gets in one of so many turns.
    slowness: u64,
    /// Whether it takes nothing any more.
    is_stuck: bool,
    state: State,
    on_the_way: VecDeque<u8>,
    has_finished: bool,
    finish_seen: bool,
    is_hurt: bool,
    received: Vec<u8>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Away,
    Queued,
    Connected,
    Reset,
}

impl SimPeer {
    /// A peer that sends these segments, one as soon as the one before has been received.
    #[must_use]
    pub fn stepwise(segments: Vec<Vec<u8>>, finishes: bool) -> SimPeer {
        SimPeer {
            segments: segments.into(),
            is_stepwise: true,
            pause_max: 0,
            pause: 0,
            finishes,
            reset_after: None,
            sent_count: 0,
            slowness: 1,
            is_stuck: false,
            state: State::Away,
            on_the_way: VecDeque::new(),
            has_finished: false,
            finish_seen: false,
            is_hurt: false,
            received: Vec::new(),
            end: End::Open,
        }
    }

    /// A peer that sends `bytes` in pieces, at a pace and with an end drawn from `chance`.
    #[must_use]
    pub fn drawn(bytes: &[u8], chance: &mut Chance) -> SimPeer {
        let piece_max = chance.pick(&[1, 7, 100, 5000, 100_000]).max(bytes.len() / 300);
        let mut rest = bytes;
        let mut segments = Vec::new();
        while !rest.is_empty() {
            let size = (1 + chance.below(piece_max as u64) as usize).min(rest.len());
            let (piece, behind) = rest.split_at(size);
            segments.push(piece.to_vec());
            rest = behind;
        }
        let reset_after = chance.per_mille(80).then(|| chance.below(segments.len() as u64 + 1) as usize);
        let finishes = chance.below(2) == 0;
        let is_stuck = chance.per_mille(60);
        SimPeer {
            is_stepwise: false,
            pause_max: chance.pick(&[0, 0, 3, 20]),
            pause: chance.below(30),
            reset_after,
            slowness: chance.pick(&[1, 1, 4, 30]),
            is_stuck,
            is_hurt: is_stuck || reset_after.is_some(),
            ..SimPeer::stepwise(segments, finishes)
        }
    }

    /// What it has received.
    #[must_use]
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// How the connection has ended.
    #[must_use]
    pub fn end(&self) -> End {
        self.end
    }

    /// Whether something went wrong on its connection, or it left early itself, so that it may have received
    /// less than it asked for.
    #[must_use]
    pub fn is_hurt(&self) -> bool {
        self.is_hurt
    }

    /// Whether it has sent all that it ever will.
    #[must_use]
    pub fn has_sent_all(&self) -> bool {
        self.segments.is_empty() || matches!(self.state, State::Reset) || self.end > End::Finished
    }

    /// Whether it has reset its connection.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.state == State::Reset
    }

    /// Lets it send one more segment.
    pub fn say(&mut self, segment: Vec<u8>) {
        self.segments.push_back(segment);
    }

    /// Lets it finish sending behind its last segment.
    pub fn finish(&mut self) {
        self.finishes = true;
    }

    /// Lets it reset the connection at once.
    pub fn reset(&mut self) {
        self.reset_after = Some(0);
        self.is_hurt = true;
    }

    /// Lets it take what it gets in one of so many turns only.
    pub fn slow_down(&mut self, slowness: u64) {
        self.slowness = slowness;
    }

    /// Lets it take nothing any more.
    pub fn get_stuck(&mut self) {
        self.is_stuck = true;
        self.is_hurt = true;
    }

    /// Whether all that it has been told to send has been received, or never will be.
    #[must_use]
    pub fn has_been_heard(&self) -> bool {
        (self.segments.is_empty() && self.on_the_way.is_empty()) || self.has_left() || self.end > End::Finished
    }

    pub(super) fn hurt(&mut self) {
        self.is_hurt = true;
    }

    pub(super) fn is_queued(&self) -> bool {
        self.state == State::Queued
    }

    pub(super) fn is_reset(&self) -> bool {
        self.state == State::Reset
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck && self.state != State::Reset
    }

    pub(super) fn accept(&mut self) {
        self.state = State::Connected;
    }

    /// It was gone before it was accepted.
    pub(super) fn abort(&mut self) {
        self.state = State::Reset;
        self.is_hurt = true;
    }

    /// Whether it will do something by itself in a later turn.
    pub(super) fn can_act(&self, is_listener_closed: bool) -> bool {
        match self.state {
            State::Away => !is_listener_closed,
            State::Queued | State::Reset => false,
            State::Connected if self.end > End::Finished => false,
            State::Connected => {
                let is_due = !self.segments.is_empty() || self.reset_after.is_some();
                (is_due && (!self.is_stepwise || self.on_the_way.is_empty())) || (self.finishes && !self.has_finished)
            }
        }
    }

    /// One turn of the peer's life.
    pub(super) fn act(&mut self, chance: &mut Chance, is_listener_closed: bool) {
        if self.pause > 0 {
            self.pause -= 1;
            return;
        }
        match self.state {
            State::Away if !is_listener_closed => self.state = State::Queued,
            State::Away | State::Queued | State::Reset => {}
            State::Connected if self.reset_after.is_some_and(|count| count <= self.sent_count) => {
                self.state = State::Reset;
                self.on_the_way.clear();
                self.reset_after = None;
            }
            State::Connected if self.is_stepwise && !self.on_the_way.is_empty() => {}
            State::Connected => match self.segments.pop_front() {
                Some(segment) => {
                    self.on_the_way.extend(segment);
                    self.sent_count += 1;
                    self.pause = chance.below(self.pause_max + 1);
                }
                None => self.has_finished |= self.finishes || self.end == End::Finished,
            },
        }
        // Who sees the end of the other side closes its own.
        if self.end == End::Finished && self.segments.is_empty() {
            self.has_finished = true;
        }
    }

    /// Whether a receive would complete.
    pub(super) fn has_news(&self) -> bool {
        self.state == State::Reset || !self.on_the_way.is_empty() || (self.has_finished && !self.finish_seen)
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.on_the_way.is_empty()
    }

    /// At most so many of the bytes on the way; none where it has finished.
    pub(super) fn give(&mut self, size: usize) -> Vec<u8> {
        let size = size.min(self.on_the_way.len());
        self.finish_seen |= size == 0;
        let (front, behind) = self.on_the_way.as_slices();
        let front = &front[..size.min(front.len())];
        let bytes = [front, &behind[..size - front.len()]].concat();
        self.on_the_way.drain(..size);
        bytes
    }

    /// Whether it takes what is sent in this turn.
    pub(super) fn takes(&self, chance: &mut Chance) -> bool {
        self.state == State::Reset || (!self.is_stuck && chance.below(self.slowness) == 0)
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// Whether the other side has half-closed, and it knows.
    pub(super) fn has_seen_finish(&self) -> bool {
        self.end == End::Finished
    }

    pub(super) fn see_end(&mut self, end: End) {
        self.end = self.end.max(end);
    }
}

impl fmt::Display for SimPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SimPeer { state, end, segments, on_the_way, is_hurt, has_finished, .. } = self;
        let (unsent, unread) = (segments.len(), on_the_way.len());
        write!(f, "{state:?} {end:?}, {unsent} segments unsent, {unread} bytes unread, ")?;
        write!(f, "finished: {has_finished}, hurt: {is_hurt}")
    }
}
