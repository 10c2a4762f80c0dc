//! The canned answers, and the exchange of one connection that wants no more than them.
//! This module performs no I/O.

use crate::date::date;
use crate::{Malformed, RECEIVE_SIZE, asks_to_close};
use std::mem::MaybeUninit;

/// Every answer a floor can give, rendered once.
///
/// The memory is the keep-alive answer many times over, followed by one that says `Connection: close`.
/// So any number of answers in order, with or without the last goodbye, is one contiguous slice, and a
/// pipelined batch is one send without a copy.
pub struct Answers {
    bytes: Vec<u8>,
    answer_size: usize,
    keep_alive_size: usize,
}

/// One connection's state above the socket: the start of an unfinished head, and the answers it is owed.
///
/// Invariant: `held` is empty or a strict prefix of a request head; `owed_size` counts the farewell's bytes
/// if `farewell` is set.
#[derive(Default)]
pub struct Exchange {
    held: Vec<u8>,
    owed_size: usize,
    farewell: bool,
}

impl Answers {
    /// Renders the answers; the date is that of the start, which a floor may get away with.
    pub fn new(body: &[u8]) -> Answers {
        let keep_alive = render(body, "");
        let farewell = render(body, "Connection: close\r\n");
        let count = (RECEIVE_SIZE / keep_alive.len()).max(1);
        let mut bytes = keep_alive.repeat(count);
        let keep_alive_size = bytes.len();
        bytes.extend_from_slice(&farewell);
        Answers { bytes, answer_size: keep_alive.len(), keep_alive_size }
    }

    fn farewell_size(&self) -> usize {
        self.bytes.len() - self.keep_alive_size
    }
}

impl Exchange {
    /// Takes received bytes and counts the complete heads in them as answers owed.
    ///
    /// Bytes after a request that asks to close are ignored, as the connection will not outlive its answer.
    pub fn receive(&mut self, bytes: &[u8], answers: &Answers) -> Result<(), Malformed> {
        if self.held.is_empty() {
            let rest = self.count(bytes, answers)?;
            // The common case leaves nothing, and so it neither copies nor allocates.
            if !rest.is_empty() {
                self.held.extend_from_slice(rest);
            }
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let rest_size = self.count(&held, answers)?.len();
            held.drain(..held.len() - rest_size);
            self.held = held;
        }
        if self.held.len() > RECEIVE_SIZE { Err(Malformed) } else { Ok(()) }
    }

    /// Notes that `size` bytes of [`outgoing`](Self::outgoing) were sent.
    pub fn sent(&mut self, size: usize) {
        assert!(size <= self.owed_size, "more was sent than was owed");
        self.owed_size -= size;
    }

    /// The next bytes to send, empty if nothing is owed.
    ///
    /// Slices are taken from the end of the answers, so that they are in phase whatever was sent before;
    /// only a debt larger than the whole memory has to find its phase and comes in several slices.
    pub fn outgoing<'a>(&self, answers: &'a Answers) -> &'a [u8] {
        let end = if self.farewell { answers.bytes.len() } else { answers.keep_alive_size };
        match end.checked_sub(self.owed_size) {
            Some(start) => &answers.bytes[start..end],
            None => {
                let keep_alive_owed = self.owed_size - if self.farewell { answers.farewell_size() } else { 0 };
                let owed_of_first = keep_alive_owed % answers.answer_size;
                let start = if owed_of_first == 0 { 0 } else { answers.answer_size - owed_of_first };
                &answers.bytes[start..answers.keep_alive_size]
            }
        }
    }

    /// Bytes of answers not yet sent.
    pub fn owed_size(&self) -> usize {
        self.owed_size
    }

    /// Whether the last answer owed, or sent, says that the connection closes after it.
    pub fn is_closing(&self) -> bool {
        self.farewell
    }

    /// Counts the complete heads at the front of `bytes` and returns what is left of them.
    fn count<'b>(&mut self, mut bytes: &'b [u8], answers: &Answers) -> Result<&'b [u8], Malformed> {
        while !bytes.is_empty() && !self.farewell {
            // Uninitialised, because clearing 64 fields would cost more than parsing three.
            let mut fields = [const { MaybeUninit::uninit() }; 64];
            let mut request = httparse::Request::new(&mut []);
            match request.parse_with_uninit_headers(bytes, &mut fields) {
                Ok(httparse::Status::Complete(head_size)) => {
                    self.farewell = asks_to_close(&request);
                    self.owed_size += if self.farewell { answers.farewell_size() } else { answers.answer_size };
                    bytes = &bytes[head_size..];
                }
                Ok(httparse::Status::Partial) => return Ok(bytes),
                Err(_) => return Err(Malformed),
            }
        }
        Ok(&[])
    }
}

/// One answer of the same fields and nearly the same size as the server's, so that the generator's work is equal.
fn render(body: &[u8], connection: &str) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nServer: ringway\r\nDate: {}\r\n{connection}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        date(),
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    fn all_outgoing(exchange: &mut Exchange, answers: &Answers) -> Vec<u8> {
        let mut sent = Vec::new();
        while exchange.owed_size() > 0 {
            // An odd and small step proves that the phase is found again after every short send.
            let part = exchange.outgoing(answers);
            let part = &part[..part.len().min(37)];
            sent.extend_from_slice(part);
            exchange.sent(part.len());
        }
        sent
    }

    #[test]
    fn answers_each_request_once_at_every_split() {
        let answers = Answers::new(b"Hello, World!");
        let input = [HEAD, HEAD, LAST].concat();
        let expected =
            [&answers.bytes[..answers.answer_size].repeat(2), &answers.bytes[answers.keep_alive_size..]].concat();
        for split in 0..input.len() {
            let mut exchange = Exchange::default();
            exchange.receive(&input[..split], &answers).unwrap();
            exchange.receive(&input[split..], &answers).unwrap();
            assert!(exchange.is_closing());
            assert!(all_outgoing(&mut exchange, &answers) == expected, "split at {split}");
        }
    }

    #[test]
    fn a_debt_larger_than_the_memory_keeps_its_phase() {
        let answers = Answers::new(&[b'x'; 10_000]);
        let mut exchange = Exchange::default();
        exchange.receive(&[HEAD.repeat(5), LAST.to_vec()].concat(), &answers).unwrap();
        let expected =
            [&answers.bytes[..answers.answer_size].repeat(5), &answers.bytes[answers.keep_alive_size..]].concat();
        assert!(all_outgoing(&mut exchange, &answers) == expected);
    }

    #[test]
    fn refuses_what_is_no_request() {
        let answers = Answers::new(b"");
        assert!(Exchange::default().receive(b"\0\0\0\0", &answers).is_err());
    }
}
