//! The fault table: for each operation, what a kernel may answer or do otherwise than all of it, in order, at once.
//!
//! One row is one way in which things go wrong, or just otherwise. Each strikes with odds of its own, drawn anew for
//! each run, or once, at a planned occasion; what struck is counted, so that a test can tell that no row is only
//! words. The rows are what a worker can see through the trait. What a ring sees alone, setup and enter refused,
//! sends continued, is decided by small functions beside the ring and is tested there. No clock, no I/O.

use super::chance::Chance;

/// What a worker asks of a kernel, and what a kernel does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whatever completes.
    Any,
    /// An armed accept.
    Accept,
    /// An armed receive into blocks.
    Receive,
    /// A receive into an owned buffer.
    Fill,
    /// A send.
    Send,
    /// A write to a file.
    Store,
    /// The cancellation of one of these.
    Cancel,
    /// A close.
    Close,
    /// The tick.
    Tick,
    /// A wake-up.
    Wake,
    /// A turn: submission and wait.
    Turn,
}

/// What a fault may cost the peer that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Nothing but time.
    Nothing,
    /// Its connection.
    Connection,
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name.
    pub fault: Fault,
    /// What it strikes.
    pub operation: Operation,
    /// What the operation answers; `None` where it is no error.
    pub errno: Option<i32>,
    /// What it may cost.
    pub cost: Cost,
    /// Per mille of its occasions: a run draws one of these. Empty where it is not drawn but happens of itself.
    pub odds: &'static [u64],
    /// What a kernel does, and who says so.
    pub what: &'static str,
}

/// Often none, sometimes many, so that runs differ in kind.
const USUAL: &[u64] = &[0, 5, 20, 100, 300];
/// For rows that share an occasion with many others.
const SOME: &[u64] = &[0, 0, 20, 100];
/// For errors that end a connection: more of them, and nothing else would be seen.
const RARE: &[u64] = &[0, 0, 0, 0, 3, 10];
/// The same, where a connection has fewer such occasions.
const SELDOM: &[u64] = &[0, 0, 0, 10, 50];
/// The same, where it has one or none.
const ONCE: &[u64] = &[0, 0, 20, 200];
/// The same, where few connections have one at all.
const STORED: &[u64] = &[0, 100, 300];
/// For what can only happen where something rare has.
const MOSTLY: &[u64] = &[300, 900];
/// Counted where it happens of itself.
const ITSELF: &[u64] = &[];

macro_rules! table {
    ($($fault:ident $operation:ident $errno:ident $cost:ident $odds:ident $what:literal;)*) => {
        /// The rows' names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault {
            $(#[doc = $what] $fault,)*
        }

        /// Every row, in the order of [`Fault`].
        pub const TABLE: &[Row] = &[$(Row {
            fault: Fault::$fault,
            operation: Operation::$operation,
            errno: table!(@ $errno),
            cost: Cost::$cost,
            odds: $odds,
            what: $what,
        }),*];
    };
    (@ NONE) => { None };
    (@ $errno:ident) => { Some(libc::$errno) };
}

#[rustfmt::skip]
table! {
    Late               Any     NONE         Nothing    USUAL  "Comes some turns late: an enter runs only a share of the deferred work (io_uring_setup(2), DEFER_TASKRUN).";
    Reordered          Any     NONE         Nothing    USUAL  "Changes places with one of another connection: completions have no order (io_uring(7)).";
    AcceptEnds         Accept  NONE         Nothing    USUAL  "Has a connection, without F_MORE: multishot may end at any completion (io_uring_prep_multishot_accept(3)).";
    AcceptInterrupted  Accept  EINTR        Nothing    SOME   "Interrupted by a signal (accept(2)).";
    AcceptAgain        Accept  EAGAIN       Nothing    SOME   "Nobody is there any more, and the listener does not block (accept(2)).";
    AcceptAborted      Accept  ECONNABORTED Connection SELDOM "The peer was gone before it was accepted (accept(2)).";
    AcceptProtocol     Accept  EPROTO       Connection SELDOM "The new connection had an error already, which accept passes on (accept(2)).";
    AcceptProcessFull  Accept  EMFILE       Nothing    SOME   "The process has no descriptor left (accept(2)); the peer stays queued.";
    AcceptSystemFull   Accept  ENFILE       Nothing    SOME   "The system has no descriptor left (accept(2)); the peer stays queued.";
    AcceptMemory       Accept  ENOMEM       Nothing    SOME   "No memory for a socket (accept(2)); the peer stays queued.";
    AcceptBuffers      Accept  ENOBUFS      Nothing    SOME   "No memory for buffers (accept(2)); the peer stays queued.";
    ReceivePartial     Receive NONE         Nothing    USUAL  "Brings less than there is (recv(2)).";
    ReceiveEnds        Receive NONE         Nothing    USUAL  "Brings bytes without F_MORE: a full queue ends multishot (io_uring_prep_recv_multishot(3)).";
    ReceiveStarved     Receive ENOBUFS      Nothing    USUAL  "Finds no block posted; the bytes stay (io_uring_prep_recv_multishot(3)).";
    ReceiveInterrupted Receive EINTR        Nothing    SOME   "Interrupted by a signal; the bytes stay (recv(2)).";
    ReceiveReset       Receive ECONNRESET   Connection RARE   "The peer has reset the connection (tcp(7)).";
    ReceiveTimedOut    Receive ETIMEDOUT    Connection RARE   "The peer has not acknowledged for too long (tcp(7)).";
    ReceiveMemory      Receive ENOMEM       Connection RARE   "No memory (recv(2)).";
    FillPartial        Fill    NONE         Nothing    USUAL  "Brings less than was asked for (recv(2)).";
    FillInterrupted    Fill    EINTR        Nothing    USUAL  "Interrupted by a signal; the bytes stay (recv(2)).";
    FillReset          Fill    ECONNRESET   Connection ONCE   "The peer has reset the connection (tcp(7)).";
    FillTimedOut       Fill    ETIMEDOUT    Connection ONCE   "The peer has not acknowledged for too long (tcp(7)).";
    FillMemory         Fill    ENOMEM       Connection ONCE   "No memory (recv(2)).";
    SendStalled        Send    NONE         Nothing    USUAL  "The socket's buffer is full for some turns (send(2)).";
    SendPipe           Send    EPIPE        Connection SELDOM "The connection is gone (send(2)); some of the bytes may have left.";
    SendReset          Send    ECONNRESET   Connection SELDOM "The peer has reset the connection (send(2)); some of the bytes may have left.";
    SendTimedOut       Send    ETIMEDOUT    Connection SELDOM "The peer has not acknowledged for too long (tcp(7)); some of the bytes may have left.";
    SendBuffers        Send    ENOBUFS      Connection SELDOM "An interface's queue is full (send(2)); some of the bytes may have left.";
    SendMemory         Send    ENOMEM       Connection SELDOM "No memory (send(2)); some of the bytes may have left.";
    StoreFull          Store   ENOSPC       Connection STORED "The disk is full (write(2)).";
    StoreQuota         Store   EDQUOT       Connection STORED "The user's share of the disk is used up (write(2)).";
    StoreIo            Store   EIO          Connection STORED "The disk fails (write(2)).";
    Cancelled          Cancel  ECANCELED    Nothing    ITSELF "Ends what was to be cancelled (io_uring_prep_cancel(3)).";
    CancelRaced        Cancel  EALREADY     Nothing    USUAL  "What was to be cancelled acts once more, or is done, before it can be (io_uring_prep_cancel(3)).";
    CancelMissed       Cancel  ENOENT       Nothing    USUAL  "Is not found and goes on: only it itself or another cancellation ends it (io_uring_prep_cancel(3)).";
    CancelPartly       Cancel  ECANCELED    Nothing    MOSTLY "A cancelled send had sent some of its bytes (io_uring_prep_cancel(3)).";
    AfterCancel        Cancel  NONE         Nothing    ITSELF "A completion of its own comes after the cancellation was asked for (io_uring_prep_cancel(3)).";
    CloseLate          Close   NONE         Nothing    USUAL  "Takes effect some turns late: on a ring it is a submission like others (io_uring_prep_close(3)).";
    TickEarly          Tick    NONE         Nothing    USUAL  "Comes sooner: one of an earlier start, on its way when that was stopped (io_uring_prep_timeout(3)).";
    TickLate           Tick    NONE         Nothing    USUAL  "Comes up to ten ticks late, because it ended and is armed again or the thread slept (timerfd_create(2)).";
    TickTwice          Tick    NONE         Nothing    USUAL  "Comes twice, and perhaps after it was stopped (io_uring_prep_timeout(3), TIMEOUT_MULTISHOT).";
    WakeLate           Wake    NONE         Nothing    USUAL  "Comes some turns late, several joined to one (eventfd(2)).";
    WakeSpurious       Wake    NONE         Nothing    USUAL  "Comes though nobody called (poll(2): readiness is a hint).";
    TurnInterrupted    Turn    EINTR        Nothing    USUAL  "A signal: nothing is submitted and nothing new is reaped (io_uring_enter(2)).";
    TurnBusy           Turn    EBUSY        Nothing    USUAL  "Submissions are kept back, as with EAGAIN; what is in flight goes on (io_uring_enter(2)).";
}

/// How often each fault strikes, per mille of its occasions.
#[derive(Clone, Debug)]
pub struct Odds {
    values: [u64; TABLE.len()],
}

/// How often each fault could have struck, and has.
#[derive(Clone, Debug)]
pub struct Faults {
    occasions: [u64; TABLE.len()],
    counts: [u64; TABLE.len()],
    /// A fault strikes at its occasion with this number, whatever its odds.
    plan: Option<(Fault, u64)>,
}

impl Fault {
    /// Its row.
    #[must_use]
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl Odds {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Odds {
        Odds { values: [0; TABLE.len()] }
    }

    /// Each fault gets odds of its own.
    #[must_use]
    pub fn drawn(chance: &mut Chance) -> Odds {
        let mut odds = Odds::none();
        for (value, row) in odds.values.iter_mut().zip(TABLE).filter(|(_, row)| !row.odds.is_empty()) {
            *value = chance.pick(row.odds);
        }
        odds
    }

    /// The same, but this fault strikes so often, per mille.
    #[must_use]
    pub fn with(mut self, fault: Fault, odds: u64) -> Odds {
        self.values[fault as usize] = odds;
        self
    }
}

impl Default for Odds {
    fn default() -> Odds {
        Odds::none()
    }
}

impl Faults {
    /// Draws whether a fault strikes now, and counts it.
    pub(super) fn draw(&mut self, fault: Fault, odds: &Odds, chance: &mut Chance) -> bool {
        let occasion = &mut self.occasions[fault as usize];
        *occasion += 1;
        let is_planned = self.plan == Some((fault, *occasion));
        // Drawn in any case, so that a planned run is the same as an unplanned one up to the fault.
        let strikes = chance.per_mille(odds.values[fault as usize]) || is_planned;
        self.counts[fault as usize] += u64::from(strikes);
        strikes
    }

    /// Counts one that happened of itself.
    pub(super) fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    pub(super) fn plan(&mut self, fault: Fault, number: u64) {
        self.plan = Some((fault, number));
    }

    /// How often it has struck.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// How often it could have.
    #[must_use]
    pub fn occasions_of(&self, fault: Fault) -> u64 {
        self.occasions[fault as usize]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Faults) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        for (count, more) in self.occasions.iter_mut().zip(other.occasions) {
            *count += more;
        }
    }
}

impl Default for Faults {
    fn default() -> Faults {
        Faults { occasions: [0; TABLE.len()], counts: [0; TABLE.len()], plan: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planned_fault_strikes_once_at_its_occasion() {
        let (mut faults, mut chance) = (Faults::default(), Chance::new(1));
        faults.plan(Fault::SendPipe, 3);
        let struck: Vec<bool> = (0..5).map(|_| faults.draw(Fault::SendPipe, &Odds::none(), &mut chance)).collect();
        assert_eq!(struck, [false, false, true, false, false]);
        assert!(!faults.draw(Fault::SendReset, &Odds::none(), &mut chance));
        assert_eq!((faults.of(Fault::SendPipe), faults.occasions_of(Fault::SendPipe)), (1, 5));
    }
}
