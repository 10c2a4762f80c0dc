//! The completion queue: what a worker may ask of a kernel, and what comes back.
//!
//! A driver takes submissions, makes one turn, and yields completions. Three implementations answer to
//! this trait: `uring`, the product; `epoll`, for kernels and containers that refuse io_uring; and
//! `sim`, a seeded fake kernel for tests. Nothing here is io_uring-shaped but the idea of completion,
//! and nothing here knows of HTTP.
//!
//! # The contract, held by every driver
//! * Memory goes in by value and comes back in the completion, also of a failed or cancelled operation.
//! * A completion carries the [`Key`] it was submitted with, whatever has become of the connection since.
//! * A receive that was armed ends with exactly one completion whose `more` is false; none follows it.
//! * At most one receive, one send and one store of a key are in flight. `close` is called with nothing in flight.
//! * An accept or a receive that answers an error has ended with it: its `more` is false.
//! * A cancellation is a wish. What it is for may be done before, or act once more; and it may find nothing while
//!   that goes on, so that only another one ends it. Who awaits the end asks again after a while.
//! * A tick and a wake-up are hints: they may come early, late, twice, or once more after a stop. What they are
//!   about is read from the clock and from what others have left.
//! * Everything submitted before [`Driver::turn`] reaches the kernel in that turn, in one system call where
//!   the kernel's interface allows; or in a later one, in the same order, where the kernel is busy.
//!
//! What may come back from each operation is a table: `sim::TABLE`.

pub mod epoll;
pub mod refusal;
#[doc(hidden)]
pub mod sim;
pub mod uring;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::buffer::{Outgoing, Pool, Received};
use crate::sys::{Errno, Outlet, Peer, Waker};
use crate::timer::Moment;

pub use refusal::Refusal;

/// Names one use of one connection slot. A reused slot has another generation, so a late completion of
/// the former connection matches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The index into the worker's flat array of connections.
    pub slot: u32,
    /// How often the slot has been reused, modulo 2^24.
    pub generation: u32,
}

/// A connected socket. It belongs to whoever holds it and is given up by value to [`Driver::close`].
#[derive(Debug, PartialEq, Eq)]
pub struct Socket(pub i32);

/// The first seam of docs/ARCHITECTURE.md. No operation blocks but [`Driver::turn`].
pub trait Driver {
    /// The time on this driver's clock. Read it once a turn.
    fn now(&self) -> Moment;

    /// The calendar time, for the Date field and the logs.
    fn wall_clock(&self) -> SystemTime;

    /// The blocks that receives fill and sends empty.
    fn pool(&mut self) -> &mut Pool;

    /// What another thread uses to make this driver yield [`Completion::Woken`].
    fn waker(&self) -> Waker;

    /// Arms the accept of the listener with this index (in the order given at construction). It yields
    /// [`Completion::Accepted`] until one whose `more` is false.
    fn accept(&mut self, listener: usize);

    /// Ends an armed accept; its last completion still comes, with `more` false.
    fn cancel_accept(&mut self, listener: usize);

    /// Has the kernel take no newcomers on a listener any more, while those who are queued, or about to be, still come. A
    /// peer that calls is refused once the listener is closed, and has sent nothing by then.
    fn refuse_newcomers(&mut self, listener: usize);

    /// Whether a connection waits in a listener's queue now. A ring is woken alone for one (`EPOLLEXCLUSIVE`), so that one
    /// whose accept is cancelled at that moment leaves it to nobody.
    fn has_queued(&self, listener: usize) -> bool;

    /// Closes a listener whose accept is not armed. What is still queued on it is lost unless another
    /// process holds the socket.
    fn close_listener(&mut self, listener: usize);

    /// Arms a receive into blocks of the pool: one [`Completion::Received`] for each, until one whose
    /// `more` is false. That is the first where it is not `is_lasting`.
    fn receive(&mut self, key: Key, socket: &Socket, is_lasting: bool);

    /// Receives once, at most `size` bytes, behind the bytes of `buffer`, which has that much spare
    /// capacity. Completes as [`Completion::Filled`].
    fn receive_into(&mut self, key: Key, socket: &Socket, buffer: Vec<u8>, size: usize);

    /// Ends an armed receive of either kind; its last completion still comes.
    fn cancel_receive(&mut self, key: Key, socket: &Socket);

    /// Sends every part, in order. Completes once, as [`Completion::Sent`], with all bytes sent or an error. Where that is
    /// not `is_awaited`, because nothing is to be done behind it until the peer sends more, [`Driver::turn`] may go on
    /// waiting for something else.
    fn send(&mut self, key: Key, socket: &Socket, outgoing: Outgoing, is_awaited: bool);

    /// Ends a send that is in flight; its completion still comes, as an error unless it was done already.
    fn cancel_send(&mut self, key: Key, socket: &Socket);

    /// Writes all of `bytes` to `file`, a regular one, from `offset` on. Completes once, as
    /// [`Completion::Stored`]; it cannot be cancelled, and the socket stays open meanwhile.
    fn store(&mut self, key: Key, socket: &Socket, file: Arc<File>, offset: u64, bytes: Vec<u8>);

    /// A number that grows while the peer takes what is being sent to it. Asked only of a send that takes long.
    fn progress(&self, key: Key, socket: &Socket) -> u64;

    /// Shuts down the sending half, as shutdown(2) with `SHUT_WR` does.
    fn shutdown(&mut self, socket: &Socket);

    /// Closes the socket.
    fn close(&mut self, socket: Socket);

    /// The address of the other end.
    ///
    /// # Errors
    /// `ENOTCONN` after a reset.
    fn peer(&self, socket: &Socket) -> Result<Peer, Errno>;

    /// The way to the socket beside the driver, for bytes that cannot wait for a turn; used only while nothing is in
    /// flight on it but a receive. A kernel that is simulated has none.
    fn outlet(&self, socket: &Socket) -> Option<Outlet> {
        let _ = socket;
        None
    }

    /// Starts or stops [`Completion::Tick`] every [`TICK`](crate::timer::TICK).
    fn tick(&mut self, on: bool);

    /// Gives the kernel everything submitted and collects what has completed. Waits for at least one
    /// completion if `wait` is set; returns early, with none, when a signal interrupts it.
    ///
    /// # Errors
    /// Only what leaves the driver unusable. Backpressure (EINTR, EBUSY, EAGAIN) is not an error.
    fn turn(&mut self, wait: bool) -> io::Result<()>;

    /// The next completion of this turn, oldest first.
    fn completion(&mut self) -> Option<Completion>;
}

/// A driver in somebody else's loop, which waits for more than this driver: it takes turns that do not wait until one has
/// brought nothing, calls [`Guest::doze`], awaits the descriptor, and calls [`Guest::rouse`].
pub trait Guest: Driver {
    /// The descriptor that becomes readable, as an edge, when a turn has something to do. It need not be read.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// How long no turn is needed unless the descriptor tells; `None` is for ever.
    fn time_left(&self) -> Option<Duration>;

    /// Says that the loop is about to wait, so that the descriptor is to tell from now on. Answers whether there is
    /// nothing to be done; what comes behind that answer is told.
    fn doze(&mut self) -> bool;

    /// Says that the loop takes turns again, so that the descriptor need not tell.
    fn rouse(&mut self);

    /// Makes the descriptor readable once without any news. Answers whether it could.
    fn ring(&self) -> bool {
        false
    }
}

/// What a kernel has finished.
pub enum Completion {
    /// An accept has a connection, or failed.
    Accepted {
        /// The listener's index.
        listener: usize,
        /// The new connection.
        result: Result<Socket, Errno>,
        /// Whether the accept is still armed.
        more: bool,
    },
    /// A receive into the pool's blocks has bytes, or ended.
    Received {
        /// The connection that it was armed for.
        key: Key,
        /// Bytes; `None` where the peer has finished sending; `ENOBUFS` where no block was free and `EINTR` after
        /// a signal, both without a loss.
        result: Result<Option<Received>, Errno>,
        /// Whether the receive is still armed.
        more: bool,
    },
    /// A receive into an owned buffer is over.
    Filled {
        /// The connection that it was submitted for.
        key: Key,
        /// The buffer, longer by what was received.
        buffer: Vec<u8>,
        /// Bytes received; 0 where the peer has finished sending; `EINTR` after a signal, without a loss.
        result: Result<usize, Errno>,
    },
    /// A send is over.
    Sent {
        /// The connection that it was submitted for.
        key: Key,
        /// The parts; all memory is the caller's again.
        outgoing: Outgoing,
        /// `Ok` when every byte was taken by the kernel.
        result: Result<(), Errno>,
    },
    /// A write to a file is over.
    Stored {
        /// The connection that it was submitted for.
        key: Key,
        /// The file.
        file: Arc<File>,
        /// The bytes that were to be written.
        bytes: Vec<u8>,
        /// `Ok` when every byte is in the file; `ENOSPC` where the disk is full.
        result: Result<(), Errno>,
    },
    /// The time since the last one is a tick.
    Tick,
    /// Another thread called the waker.
    Woken,
}

/// Blocks that a ring has posted for its receives: a turn takes about 40, and 1 MiB stays in the second-level cache.
pub(crate) const POSTED_COUNT: u16 = 64;
