//! Chance from a seed, the faults that it can draw, and how often it has drawn them. No clock, no I/O.

/// A generator of pseudo-random numbers (SplitMix64): the same seed gives the same run on every machine.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

/// What can go wrong, or just otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A completion comes some turns late.
    Late,
    /// Completions of different connections change places.
    Reordered,
    /// A receive brings less than there is.
    Partial,
    /// A receive finds no block.
    Starved,
    /// A multishot receive ends with its bytes.
    ReceiveEnds,
    /// A receive fails.
    ReceiveError,
    /// A send fails, perhaps behind some of its bytes.
    SendError,
    /// A write to a file fails.
    StoreError,
    /// An accept fails.
    AcceptError,
    /// A multishot accept ends with its connection.
    AcceptEnds,
    /// Bytes come between a cancellation and its effect.
    CancelLate,
    /// An operation was cancelled.
    Cancelled,
    /// A turn is interrupted by a signal.
    Interrupted,
}

/// How often each fault strikes, per mille of its occasions.
#[derive(Clone, Debug, Default)]
pub struct Odds {
    values: [u64; Fault::ALL.len()],
}

/// How often each fault has struck.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    counts: [u64; Fault::ALL.len()],
}

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    /// A number below `bound`, 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// True in so many of a thousand draws.
    pub fn per_mille(&mut self, odds: u64) -> bool {
        self.below(1000) < odds
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Puts them in any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u64 + 1) as usize);
        }
    }
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 13] = [
        Fault::Late,
        Fault::Reordered,
        Fault::Partial,
        Fault::Starved,
        Fault::ReceiveEnds,
        Fault::ReceiveError,
        Fault::SendError,
        Fault::StoreError,
        Fault::AcceptError,
        Fault::AcceptEnds,
        Fault::CancelLate,
        Fault::Cancelled,
        Fault::Interrupted,
    ];
}

impl Odds {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Odds {
        Odds::default()
    }

    /// Each fault gets odds of its own: often none, sometimes many, so that runs differ in kind.
    #[must_use]
    pub fn drawn(chance: &mut Chance) -> Odds {
        let mut odds = Odds::default();
        for value in &mut odds.values {
            *value = chance.pick(&[0, 5, 20, 100, 300]);
        }
        // Errors that end a connection are kept rare, or nothing else would be seen.
        odds.values[Fault::ReceiveError as usize] = chance.pick(&[0, 0, 5, 20]);
        odds.values[Fault::SendError as usize] = chance.pick(&[0, 5, 20, 80]);
        odds.values[Fault::StoreError as usize] = chance.pick(&[0, 100, 300, 600]);
        odds
    }

    /// The odds of a fault.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.values[fault as usize]
    }
}

impl Faults {
    pub(super) fn count(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// How often it has struck.
    #[must_use]
    pub fn of(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Faults) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }
}
