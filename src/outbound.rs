//! What a connection has to say: responses gathered in a block, in request order.
//!
//! An [`Outbound`] is one run of bytes with a mark-and-truncate discipline: a response is written behind a
//! mark, and a refusal, an error or a panic truncates to it, so that earlier answers stay. What does not
//! fit the block spills into a vector; a body that is better sent from where it lies becomes the payload,
//! and then nothing more can be written until the send is over. This module performs no I/O.

use crate::buffer::{BLOCK_SIZE, Block, Outgoing, Payload, Pool, let_go};

/// Bytes on their way to the driver. At rest it owns no memory.
///
/// Invariant: `size <= BLOCK_SIZE`, and `size == 0` without a block. The spill follows the block's bytes, and
/// once it has any, everything written goes to it.
#[derive(Default)]
pub struct Outbound {
    block: Option<Block>,
    size: usize,
    spill: Vec<u8>,
    payload: Payload,
}

impl Outbound {
    /// An outbound that owns nothing yet.
    #[must_use]
    pub fn new() -> Outbound {
        Outbound::default()
    }

    /// Takes a block from `pool` if it has none. Without one every byte spills, which is slower but right.
    pub fn prepare(&mut self, pool: &mut Pool) {
        if self.block.is_none() && self.spill.is_empty() {
            self.block = Some(pool.take());
        }
    }

    /// Gives an unused block back.
    pub fn rest(&mut self, pool: &mut Pool) {
        assert!(self.is_empty(), "an outbound with bytes does not rest");
        if let Some(block) = self.block.take() {
            pool.give(block);
        }
    }

    /// Drops what it holds, unsent.
    pub fn discard(&mut self, pool: &mut Pool) {
        self.truncate(0);
        self.rest(pool);
    }

    /// Hands everything over for a send and is at rest again.
    pub fn take(&mut self) -> Outgoing {
        let block_size = std::mem::take(&mut self.size);
        Outgoing {
            block: self.block.take(),
            block_size,
            spill: std::mem::take(&mut self.spill),
            payload: std::mem::take(&mut self.payload),
        }
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        if self.spill.is_empty()
            && let Some(block) = &mut self.block
            && let Some(room) = block.get_mut(self.size..self.size + bytes.len())
        {
            room.copy_from_slice(bytes);
            self.size += bytes.len();
            return;
        }
        self.put_spilling(bytes);
    }

    /// Appends bytes that lie in several places, with one look at the room for all of them. Inlined, so that parts of a
    /// known size are no calls.
    #[inline(always)]
    pub fn put_parts<const COUNT: usize>(&mut self, parts: [&[u8]; COUNT]) {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if self.spill.is_empty()
            && let Some(block) = &mut self.block
            && let Some(mut room) = block.get_mut(self.size..self.size + size)
        {
            for part in parts {
                let (place, rest) = room.split_at_mut(part.len());
                place.copy_from_slice(part);
                room = rest;
            }
            self.size += size;
            return;
        }
        for part in parts {
            self.put_spilling(part);
        }
    }

    /// Appends what another outbound without a block has gathered: an answer that was made elsewhere.
    pub fn append(&mut self, other: Outbound) {
        assert!(other.block.is_none(), "an answer made elsewhere has no block");
        let Outbound { spill, payload, .. } = other;
        if self.spill.is_empty() && spill.len() > BLOCK_SIZE / 2 {
            self.spill = spill;
        } else {
            self.put(&spill);
        }
        self.set_payload(payload);
    }

    /// Drops bytes at the front that have reached the kernel by another way. A mark means nothing afterwards.
    pub fn drop_front(&mut self, size: usize) {
        let rest = self.copy_range(size, self.size());
        let payload = std::mem::take(&mut self.payload);
        self.truncate(0);
        self.put(&rest);
        self.payload = payload;
    }

    /// Cuts everything behind `mark`, the payload included.
    pub fn truncate(&mut self, mark: usize) {
        assert!(mark <= self.size(), "a mark lies within what was written");
        let_go(std::mem::take(&mut self.payload));
        self.spill.truncate(mark.saturating_sub(self.size));
        self.size = self.size.min(mark);
    }

    /// Puts bytes in the place of those from `start` to `end`, moving what is behind them. Only middleware needs this.
    pub fn replace(&mut self, start: usize, end: usize, bytes: &[u8]) {
        let payload = std::mem::take(&mut self.payload);
        let tail = self.copy_range(end, self.size());
        self.truncate(start);
        self.put(bytes);
        self.put(&tail);
        self.payload = payload;
    }

    /// Sets the body that is sent from where it lies, behind everything written.
    pub fn set_payload(&mut self, payload: Payload) {
        assert!(matches!(self.payload, Payload::None), "one payload a send");
        self.payload = payload;
    }

    /// The free part of the block, for a stream to fill in place; then [`Outbound::advance`].
    pub fn spare(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) if self.spill.is_empty() => &mut block[self.size..],
            Some(_) | None => &mut [],
        }
    }

    /// Counts `size` bytes that were written into [`Outbound::spare`].
    pub fn advance(&mut self, size: usize) {
        assert!(self.size + size <= BLOCK_SIZE && self.block.is_some(), "only the spare part is filled");
        self.size += size;
    }

    /// The bytes written from `start` up to `end`, in at most two pieces.
    #[must_use]
    pub fn range(&self, start: usize, end: usize) -> (&[u8], &[u8]) {
        let block = self.block.as_deref().unwrap_or_default();
        let first = &block[start.min(self.size)..end.min(self.size)];
        let second = &self.spill[start.saturating_sub(self.size)..end.saturating_sub(self.size)];
        (first, second)
    }

    /// A copy of the bytes from `start` up to `end`.
    #[must_use]
    pub fn copy_range(&self, start: usize, end: usize) -> Vec<u8> {
        let (first, second) = self.range(start, end);
        [first, second].concat()
    }

    /// Bytes written so far, without the payload. A mark is such a size.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size + self.spill.len()
    }

    /// Whether it leaves with the first flight of packets. What does not may still be on its way when its connection is
    /// closed, and a reset would cut it.
    #[must_use]
    pub fn is_small(&self) -> bool {
        !self.has_payload() && self.size() <= 4 * 1024
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.size() == 0 && !self.has_payload()
    }

    /// Whether a payload waits, so that nothing may be written behind it.
    #[must_use]
    pub fn has_payload(&self) -> bool {
        !matches!(self.payload, Payload::None)
    }

    /// Whether another response is best written after a send: a payload waits, bytes have spilled, or less
    /// than a quarter of the block is free.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.has_payload() || !self.spill.is_empty() || self.size > BLOCK_SIZE / 4 * 3
    }

    #[cold]
    fn put_spilling(&mut self, bytes: &[u8]) {
        let room = match &self.block {
            Some(_) if self.spill.is_empty() => (BLOCK_SIZE - self.size).min(bytes.len()),
            Some(_) | None => 0,
        };
        let (head, tail) = bytes.split_at(room);
        if let Some(block) = &mut self.block {
            block[self.size..self.size + room].copy_from_slice(head);
            self.size += room;
        }
        self.spill.extend_from_slice(tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outbound: &Outbound) -> Vec<u8> {
        outbound.copy_range(0, outbound.size())
    }

    #[test]
    fn bytes_that_do_not_fit_the_block_spill_in_order() {
        for with_block in [true, false] {
            let mut pool = Pool::new(0, 1);
            let mut outbound = Outbound::new();
            if with_block {
                outbound.prepare(&mut pool);
            }
            let text: Vec<u8> = (0..3 * BLOCK_SIZE).map(|n| (n % 251) as u8).collect();
            for piece in text.chunks(1000) {
                let (first, rest) = piece.split_at(piece.len() / 3);
                let (second, third) = rest.split_at(rest.len() / 2);
                outbound.put(first);
                outbound.put_parts([second, b"", third]);
            }
            assert_eq!(written(&outbound), text);
            outbound.replace(BLOCK_SIZE - 2, BLOCK_SIZE + 3, b"put there");
            let mut expected = text.clone();
            expected.splice(BLOCK_SIZE - 2..BLOCK_SIZE + 3, *b"put there");
            assert_eq!(written(&outbound), expected);
            for mark in [BLOCK_SIZE + 5, BLOCK_SIZE, 7, 0] {
                outbound.truncate(mark);
                assert_eq!(written(&outbound), expected[..mark]);
            }
            outbound.rest(&mut pool);
            assert_eq!(pool.away_count(), 0);
        }
    }

    #[test]
    fn truncation_drops_the_payload_and_keeps_what_is_before_the_mark() {
        let mut pool = Pool::new(1, 1);
        let mut outbound = Outbound::new();
        outbound.prepare(&mut pool);
        outbound.put(b"first");
        let mark = outbound.size();
        outbound.put(b"second");
        outbound.set_payload(Payload::Static(b"body"));
        outbound.truncate(mark);
        assert!(!outbound.has_payload());
        assert_eq!(written(&outbound), b"first");
        let outgoing = outbound.take();
        assert_eq!(outgoing.size(), 5);
        assert!(outbound.is_empty());
    }
}
