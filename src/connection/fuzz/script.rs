//! A conversation as a fuzzer writes it: what the peer sends, how and when, and what else happens meanwhile.

use std::time::Duration;

use crate::buffer::BLOCK_SIZE;
use crate::http::fuzz::pieces::{self, Dice};

use super::app::Puppet;
use super::rig::{Rig, State};
use super::{Limits, limits};

/// Everything that a run follows from.
pub(super) struct Script<'d> {
    how: u8,
    pub(super) limits: Limits,
    outcomes: [u8; 8],
    admissions: u8,
    pub(super) events: Events,
    seed: u8,
    /// What the peer sends.
    pub(super) bytes: Vec<u8>,
    /// How much of it is the fuzzer's own; the rest is sent in whole blocks.
    own: &'d [u8],
}

/// What may happen between two pieces.
#[derive(Clone, Copy)]
pub(super) struct Events {
    /// Sends take their time.
    pub(super) late_sends: bool,
    /// Pending answers take their time.
    pub(super) late_answers: bool,
    /// The clock goes on, past deadlines too.
    pub(super) waits: bool,
    /// The server begins to drain.
    pub(super) drains: bool,
    /// The server runs out of blocks, or of room on its disk.
    pub(super) overloads: bool,
    /// The peer goes in the middle of something.
    pub(super) cuts: bool,
}

/// What came of it.
pub(super) struct Run<'a> {
    pub(super) rig: Rig<'a>,
    pub(super) has_waited: bool,
    pub(super) has_drained: bool,
    pub(super) has_overloaded: bool,
    pub(super) was_cut: bool,
}

impl<'d> Script<'d> {
    /// Sixteen bytes of parameters, then what the peer sends.
    pub(super) fn new(data: &'d [u8]) -> Script<'d> {
        let ([how, head_max, body_max, rest_max, events, seed, admissions, filler, outcomes @ ..], own) =
            pieces::split::<16>(data);
        Script {
            how,
            limits: limits(head_max, body_max, rest_max),
            outcomes,
            admissions,
            events: Events::of(events),
            seed,
            bytes: [own, &fill(filler)].concat(),
            own,
        }
    }

    pub(super) fn puppet(&self) -> Puppet {
        Puppet::new(self.outcomes, self.admissions)
    }

    /// The conversation without any of the events, in one piece.
    pub(super) fn run_plainly<'a>(&self, puppet: &'a Puppet) -> Run<'a> {
        let mut run = Run::new(puppet, &self.limits);
        run.send(&self.bytes, puppet);
        run.settle(puppet);
        run
    }

    /// The conversation in pieces, with the events between them.
    pub(super) fn run<'a>(&self, puppet: &'a Puppet) -> Run<'a> {
        let mut run = Run::new(puppet, &self.limits);
        let mut dice = Dice::new(u64::from(self.seed) << 8 | u64::from(self.how));
        run.rig.sends_at_once = !self.events.late_sends;
        let filler = self.bytes[self.own.len()..].chunks(BLOCK_SIZE);
        for piece in pieces::pieces(self.how, self.own).into_iter().chain(filler) {
            run.send(piece, puppet);
            self.happen(&mut run, puppet, &mut dice);
        }
        run.settle(puppet);
        run.has_overloaded |= run.rig.has_lost;
        run
    }

    fn happen(&self, run: &mut Run<'_>, puppet: &Puppet, dice: &mut Dice) {
        let Events { late_sends, late_answers, waits, drains, overloads, cuts } = self.events;
        if late_sends && dice.below(4) == 0 {
            run.rig.complete_send();
        }
        if !late_answers || dice.below(4) == 0 {
            run.answer(puppet);
        }
        match dice.below(16) {
            0..=2 if waits => {
                run.has_waited = true;
                let seconds = [1, 3, 11, 31, 61][dice.below(5)];
                run.rig.wait(Duration::from_secs(seconds));
            }
            3 if drains => {
                run.has_drained = true;
                run.rig.drain();
            }
            4 if overloads => run.has_overloaded |= run.rig.overload(),
            5 if cuts => {
                run.was_cut = true;
                run.rig.cut();
                puppet.shared.check_end();
            }
            6 if overloads => run.rig.fails_to_store = true,
            _ => {}
        }
    }
}

impl Events {
    fn of(byte: u8) -> Events {
        let has = |bit: u8| byte >> bit & 1 == 1;
        Events {
            late_sends: has(0),
            late_answers: has(1),
            waits: has(2),
            drains: has(3),
            overloads: has(4),
            cuts: has(5),
        }
    }
}

impl<'a> Run<'a> {
    fn new(puppet: &'a Puppet, limits: &Limits) -> Run<'a> {
        let mut rig = Rig::new(puppet, limits.clone());
        rig.is_sending = puppet.shared.is_sending.clone();
        Run { rig, has_waited: false, has_drained: false, has_overloaded: false, was_cut: false }
    }

    /// Sends a piece, when the server reads on.
    fn send(&mut self, piece: &[u8], puppet: &Puppet) {
        for piece in piece.chunks(BLOCK_SIZE) {
            if !self.rig.reads() {
                self.settle(puppet);
            }
            self.rig.receive(piece);
        }
    }

    fn answer(&mut self, puppet: &Puppet) -> bool {
        let has_any = puppet.complete_pending();
        self.rig.deliver() || has_any
    }

    /// Completes what is under way, until the connection has nothing left to do.
    fn settle(&mut self, puppet: &Puppet) {
        let mut count = 0;
        while self.rig.complete_send() || self.answer(puppet) {
            count += 1;
            assert!(count < 10_000, "it comes to an end");
        }
    }

    /// Whether nothing has happened but what the peer has sent.
    pub(super) fn is_calm(&self) -> bool {
        !(self.has_waited || self.has_drained || self.has_overloaded || self.was_cut)
    }

    /// The peer finishes sending, and sees the end.
    pub(super) fn finish(&mut self, puppet: &Puppet) {
        self.rig.finish();
        self.settle(puppet);
        assert_eq!(self.rig.state, State::Closed, "a peer that has gone leaves nothing open");
        puppet.shared.check_end();
    }
}

/// What is too much for a fuzzer to write: a body that is received into its own buffer, and a request behind it;
/// chunks that are mostly framing.
fn fill(filler: u8) -> Vec<u8> {
    match filler >> 6 {
        0 | 1 => Vec::new(),
        2 => b"1\r\na\r\n".repeat(6000),
        _ => {
            let size = 250_000 + 1000 * usize::from(filler & 63);
            let head = format!("POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
            let next = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
            [head.as_bytes(), &vec![b'x'; size], next].concat()
        }
    }
}
