//! The sends in flight, one a slot at most, and the memory that they lend to the kernel.
//!
//! Most are short, of one block, and over at once; what is longer, or is not taken at once, is boxed. Nothing is submitted here.

use io_uring::squeue;

use crate::buffer::Outgoing;
use crate::driver::Key;
use crate::slab::Chunks;
use crate::sys::Errno;

use super::operation::{self, Progress, Prompt, Sending};

/// What each slot has in flight to its peer.
pub(super) struct Sends {
    in_flight: Chunks<InFlight>,
    #[allow(clippy::vec_box, reason = "a spare moves into a slot without being copied")]
    spares: Vec<Box<Sending>>,
    /// Those of every send, by the kind of the listeners.
    flags: i32,
}

/// What one slot has in flight.
#[derive(Default)]
enum InFlight {
    #[default]
    Nothing,
    Prompt(Prompt),
    /// Boxed, because the kernel has addresses within.
    Lasting(Box<Sending>),
}

/// What is to be submitted of a new send.
pub(super) enum Begun {
    /// It completes as it is submitted.
    Prompt(squeue::Entry),
    /// It completes when the peer has made room.
    Lasting(squeue::Entry),
}

/// What follows a completion.
pub(super) enum Step {
    /// This is to be submitted next.
    Submit(squeue::Entry),
    /// The send is over, and its memory is nobody's but ours.
    Done { outgoing: Outgoing, result: Result<(), Errno> },
}

impl Sends {
    pub(super) fn new(is_internet: bool) -> Sends {
        Sends { in_flight: Chunks::new(), spares: Vec::new(), flags: operation::send_flags(is_internet) }
    }

    /// Begins a send. What the entry points to stays here until [`Sends::proceed`] gives it back.
    pub(super) fn begin(&mut self, key: Key, descriptor: i32, outgoing: Outgoing) -> Begun {
        let Sends { in_flight, spares, flags } = self;
        let place = in_flight.get_or_grow(key.slot as usize);
        assert!(matches!(place, InFlight::Nothing), "one send of a slot is in flight");
        match Prompt::of(key, descriptor, outgoing) {
            Ok(prompt) => {
                let entry = prompt.entry(key.slot, *flags);
                *place = InFlight::Prompt(prompt);
                Begun::Prompt(entry)
            }
            Err(outgoing) => {
                let mut sending = boxed(spares, Sending::new(key, descriptor, outgoing, *flags));
                let Progress::Submit(entry) = sending.next() else { unreachable!("a send has bytes") };
                *place = InFlight::Lasting(sending);
                Begun::Lasting(entry)
            }
        }
    }

    /// Goes on behind a completion, until every byte is taken.
    pub(super) fn proceed(&mut self, key: Key, result: Result<usize, Errno>) -> Step {
        let place = self.in_flight.get_mut(key.slot as usize).expect("one send of a slot is in flight");
        let (mut sending, result) = match std::mem::take(place) {
            InFlight::Prompt(prompt) => {
                assert!(prompt.is_of(key), "a slot is reused only when its send is over");
                if prompt.is_whole(result) {
                    return Step::Done { outgoing: prompt.into_outgoing(), result: Ok(()) };
                }
                let (sending, result) = prompt.lasting(key.slot, result, self.flags);
                (boxed(&mut self.spares, sending), result)
            }
            InFlight::Lasting(sending) => {
                assert!(sending.key == key, "a slot is reused only when its send is over");
                (sending, result)
            }
            InFlight::Nothing => panic!("one send of a slot is in flight"),
        };
        let result = match sending.proceed(result) {
            Ok(Progress::Submit(entry)) => {
                *place = InFlight::Lasting(sending);
                return Step::Submit(entry);
            }
            Ok(Progress::Done) => Ok(()),
            Err(errno) => Err(errno),
        };
        let outgoing = sending.release();
        if self.spares.len() < SPARE_COUNT_MAX {
            self.spares.push(sending);
        }
        Step::Done { outgoing, result }
    }

    /// Has nothing more submitted of a send.
    pub(super) fn cancel(&mut self, key: Key) {
        match self.in_flight.get_mut(key.slot as usize) {
            Some(InFlight::Prompt(prompt)) => prompt.is_cancelled = true,
            Some(InFlight::Lasting(sending)) => sending.is_cancelled = true,
            Some(InFlight::Nothing) | None => {}
        }
    }

    /// Whether a send of this slot is to complete with its submission.
    pub(super) fn has_prompt(&self, key: Key) -> bool {
        matches!(self.in_flight.get(key.slot as usize), Some(InFlight::Prompt(_)))
    }

    /// Bytes of a send that the kernel has taken so far.
    pub(super) fn progress(&self, key: Key) -> u64 {
        match self.in_flight.get(key.slot as usize) {
            Some(InFlight::Lasting(sending)) => sending.progress(),
            Some(InFlight::Prompt(_) | InFlight::Nothing) | None => 0,
        }
    }

    /// Leaves what is in flight to the kernel for good.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.in_flight));
    }
}

/// A send where it does not move any more.
#[allow(clippy::vec_box, reason = "as in the field")]
fn boxed(spares: &mut Vec<Box<Sending>>, sending: Sending) -> Box<Sending> {
    match spares.pop() {
        Some(mut spare) => {
            *spare = sending;
            spare
        }
        None => Box::new(sending),
    }
}

/// Boxes that are kept: so many sends that last at a time allocate nothing.
const SPARE_COUNT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::{Block, Payload};

    fn block(size: usize) -> Outgoing {
        Outgoing { block: Some(Block::new()), block_size: size, ..Outgoing::default() }
    }

    /// The kernel's answers to a send of ten bytes in one block, and how it goes on behind the last of them.
    #[test]
    fn what_is_not_taken_at_once_is_sent_as_one_that_lasts() {
        let error = |errno| Err(Errno(errno));
        for (name, is_cancelled, answers, expected) in [
            ("whole", false, &[Ok(10)][..], Ok(true)),
            ("no room", false, &[error(libc::EAGAIN)], Ok(false)),
            ("no room at first", false, &[error(libc::EAGAIN), Ok(10)], Ok(true)),
            ("room for some", false, &[Ok(4)], Ok(false)),
            ("room for some at first", false, &[Ok(4), Ok(6)], Ok(true)),
            ("no room, and then none again", false, &[error(libc::EAGAIN), error(libc::EAGAIN)], Err(libc::EAGAIN)),
            ("interrupted", false, &[error(libc::EINTR), Ok(10)], Ok(true)),
            ("nothing taken", false, &[Ok(0)], Err(libc::EPIPE)),
            ("reset", false, &[error(libc::ECONNRESET)], Err(libc::ECONNRESET)),
            ("cancelled, no room", true, &[error(libc::EAGAIN)], Err(libc::ECANCELED)),
            ("cancelled, room for some", true, &[Ok(4)], Err(libc::ECANCELED)),
            ("cancelled when it was done", true, &[Ok(10)], Ok(true)),
        ] {
            let key = Key { slot: 70, generation: 3 };
            let mut sends = Sends::new(true);
            assert!(matches!(sends.begin(key, 0, block(10)), Begun::Prompt(_)), "{name}: it is one block");
            if is_cancelled {
                sends.cancel(key);
            }
            let mut outcome = Ok(false);
            for answer in answers {
                outcome = match sends.proceed(key, *answer) {
                    Step::Submit(_) => Ok(false),
                    Step::Done { outgoing, result } => {
                        assert_eq!((outgoing.size(), outgoing.block.is_some()), (10, true), "{name}: all comes back");
                        result.map(|()| true).map_err(|errno| errno.0)
                    }
                };
            }
            assert_eq!(outcome, expected, "{name}");
            assert_eq!(sends.progress(key), if expected == Ok(false) { answers[0].unwrap_or(0) as u64 } else { 0 });
        }
    }

    #[test]
    fn what_has_more_parts_than_a_block_is_not_tried_at_once() {
        let key = Key { slot: 0, generation: 0 };
        assert!(matches!(Sends::new(true).begin(key, 0, block(4096)), Begun::Prompt(_)));
        assert!(matches!(Sends::new(true).begin(key, 0, block(4097)), Begun::Lasting(_)));
        let spilled = Outgoing { spill: vec![b'x'], ..block(10) };
        let paid = Outgoing { payload: Payload::Static(b"static"), ..block(10) };
        for outgoing in
            [spilled, paid, Outgoing { block: None, block_size: 0, spill: vec![b'x'], ..Outgoing::default() }]
        {
            assert!(matches!(Sends::new(true).begin(key, 0, outgoing), Begun::Lasting(_)));
        }
    }
}
