//! What the peer has sent and nobody has consumed: blocks in the order of their arrival.
//!
//! A request that lies in one block is parsed where the kernel put it. Only a head split across receives
//! is copied, once: [`Inbound::join`] moves the next block's bytes behind it. At rest it owns no memory.
//! This module performs no I/O.

use std::collections::VecDeque;
use std::ops::Range;

use crate::buffer::{BLOCK_SIZE, Block, Pool, Received};

/// Received bytes, front first.
#[derive(Default)]
pub struct Inbound {
    front: Option<Segment>,
    /// What came behind it. Few peers are ever ahead so far, so that an idle connection has no room for it.
    #[allow(clippy::box_collection, reason = "a third of the size, and nothing where nobody is ahead")]
    behind: Option<Box<VecDeque<Segment>>>,
    finished: bool,
}

/// The bytes `start..end` of a block.
///
/// Invariant: `start < end <= BLOCK_SIZE`; an empty segment gives its block back at once.
struct Segment {
    block: Block,
    start: u32,
    end: u32,
}

impl Inbound {
    /// An inbound that owns nothing.
    #[must_use]
    pub fn new() -> Inbound {
        Inbound::default()
    }

    /// Appends what a receive has filled.
    pub fn push(&mut self, received: Received) {
        assert!(received.size > 0 && received.size <= BLOCK_SIZE, "a receive fills some of its block");
        let end = u32::try_from(received.size).expect("a block has few bytes");
        let segment = Segment { block: received.block, start: 0, end };
        if self.front.is_none() {
            self.front = Some(segment);
        } else {
            self.behind.get_or_insert_default().push_back(segment);
        }
    }

    /// Notes that the peer has finished sending.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Moves bytes of the next block behind those of the front one, as many as fit. Answers whether any did.
    pub fn join(&mut self, pool: &mut Pool) -> bool {
        let (Some(front), Some(behind)) = (&mut self.front, &mut self.behind) else { return false };
        let Some(next) = behind.front_mut() else { return false };
        if front.start > 0 {
            let range = front.range();
            front.block.copy_within(range, 0);
            front.end -= front.start;
            front.start = 0;
        }
        let end = front.end as usize;
        let size = (BLOCK_SIZE - end).min(next.size());
        if size == 0 {
            return false;
        }
        front.block[end..end + size].copy_from_slice(&next.bytes()[..size]);
        front.end += size as u32;
        next.start += size as u32;
        if next.size() == 0
            && let Some(emptied) = behind.pop_front()
        {
            pool.give(emptied.block);
        }
        true
    }

    /// Consumes `size` bytes of the front block.
    pub fn consume(&mut self, size: usize, pool: &mut Pool) {
        let Some(front) = &mut self.front else {
            assert!(size == 0, "nothing is there to be consumed");
            return;
        };
        assert!(size <= front.size(), "no more is consumed than is there");
        front.start += size as u32;
        if front.start == front.end {
            let next = self.behind.as_mut().and_then(|behind| behind.pop_front());
            if let Some(segment) = std::mem::replace(&mut self.front, next) {
                pool.give(segment.block);
            }
        }
    }

    /// Consumes the bytes `at..at + size` of the front block and keeps those before them: a body behind a
    /// head that is still needed.
    pub fn consume_behind(&mut self, at: usize, size: usize) {
        let Some(front) = &mut self.front else { return };
        let range = front.range();
        let from = range.start + at;
        assert!(from + size <= range.end, "no more is consumed than is there");
        front.block.copy_within(from + size..range.end, from);
        front.end -= size as u32;
    }

    /// Drops everything.
    pub fn discard(&mut self, pool: &mut Pool) {
        let behind = self.behind.take();
        for segment in self.front.take().into_iter().chain(behind.into_iter().flat_map(|behind| *behind)) {
            pool.give(segment.block);
        }
    }

    /// The bytes of the front block.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.front.as_ref().map(Segment::bytes).unwrap_or_default()
    }

    /// The bytes of the block behind the front one.
    #[must_use]
    pub fn next(&self) -> &[u8] {
        self.behind.as_ref().and_then(|behind| behind.front()).map(Segment::bytes).unwrap_or_default()
    }

    /// Consumes `size` bytes of the block behind the front one.
    pub fn consume_next(&mut self, size: usize, pool: &mut Pool) {
        let Some(behind) = &mut self.behind else { return };
        let Some(next) = behind.front_mut() else { return };
        assert!(size <= next.size(), "no more is consumed than is there");
        next.start += size as u32;
        if next.size() == 0
            && let Some(emptied) = behind.pop_front()
        {
            pool.give(emptied.block);
        }
    }

    /// Bytes that wait to be consumed.
    #[must_use]
    pub fn size(&self) -> usize {
        self.front.iter().chain(self.behind.iter().flat_map(|behind| behind.iter())).map(Segment::size).sum()
    }

    /// Blocks held.
    #[must_use]
    pub fn block_count(&self) -> usize {
        usize::from(self.front.is_some()) + self.behind.as_ref().map_or(0, |behind| behind.len())
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.front.is_none()
    }

    /// Whether the peer has finished sending and nothing more will be pushed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }
}

impl Segment {
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn size(&self) -> usize {
        (self.end - self.start) as usize
    }

    fn bytes(&self) -> &[u8] {
        &self.block[self.range()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(inbound: &mut Inbound, pool: &mut Pool, bytes: &[u8]) {
        for piece in bytes.chunks(BLOCK_SIZE) {
            let mut block = pool.take();
            block[..piece.len()].copy_from_slice(piece);
            inbound.push(Received { block, size: piece.len() });
        }
    }

    #[test]
    fn joined_and_consumed_in_any_pieces_the_bytes_stay_in_order() {
        let text: Vec<u8> = (0..40_000).map(|n| (n % 253) as u8).collect();
        for (piece, bite) in [(1000, 700), (BLOCK_SIZE, 16_000), (9000, 12_000), (3, 5)] {
            let mut pool = Pool::new(0, 20_000);
            let mut inbound = Inbound::new();
            for bytes in text.chunks(piece) {
                push(&mut inbound, &mut pool, bytes);
            }
            let mut seen = Vec::new();
            while !inbound.is_empty() {
                while inbound.front().len() < bite && inbound.join(&mut pool) {}
                let size = bite.min(inbound.front().len());
                seen.extend_from_slice(&inbound.front()[..size]);
                inbound.consume(size, &mut pool);
            }
            assert_eq!(seen, text, "pieces of {piece}, bites of {bite}");
            assert_eq!(pool.away_count(), 0);
        }
    }

    #[test]
    fn a_body_is_consumed_behind_a_head_that_stays() {
        let mut pool = Pool::new(0, 4);
        let mut inbound = Inbound::new();
        push(&mut inbound, &mut pool, b"headbodyrest");
        inbound.consume_behind(4, 4);
        assert_eq!(inbound.front(), b"headrest");
        push(&mut inbound, &mut pool, b"next");
        assert_eq!(inbound.next(), b"next");
        inbound.consume_next(4, &mut pool);
        assert_eq!(inbound.block_count(), 1);
        inbound.discard(&mut pool);
        assert_eq!(pool.away_count(), 0);
    }
}
