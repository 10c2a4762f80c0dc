//! Time as an argument, and a wheel of deadlines.
//!
//! A [`Moment`] is a point on a driver's clock. The [`Wheel`] holds at most one entry a connection slot, in
//! intrusive lists, so that setting and clearing are O(1) and allocate nothing once the slots exist. It is
//! lazy: a deadline that moves later costs nothing until its old time comes. This module reads no clock.

mod pace;

use std::ops::{Add, Sub};
use std::time::Duration;

pub use pace::{Pace, WINDOW};

/// How often a driver ticks while something is timed. Deadlines are met to within two ticks.
pub const TICK: Duration = Duration::from_millis(200);

/// Nanoseconds since the driver's clock began. The protocol never reads a clock; it is told the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

/// Slots in the order of the tick at which they are to be looked at.
pub struct Wheel {
    /// The first slot of each spoke's list.
    spokes: Vec<u32>,
    links: Vec<Link>,
    /// The tick up to which every spoke has been emptied.
    done: u64,
    count: usize,
}

/// A slot's place in the list of its spoke.
#[derive(Clone, Copy)]
struct Link {
    next: u32,
    previous: u32,
    /// Where the list begins; `NONE` where the slot is in no list. That tells the tick, as none is a round away.
    spoke: u32,
}

/// A moment, or none, in the space of a moment: what a connection keeps many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MomentOrNone(u64);

impl MomentOrNone {
    /// No moment.
    pub const NONE: MomentOrNone = MomentOrNone(u64::MAX);

    /// The moment, if there is one.
    #[must_use]
    pub fn get(self) -> Option<Moment> {
        (self != MomentOrNone::NONE).then_some(Moment(self.0))
    }

    /// Takes the moment out.
    pub fn take(&mut self) -> Option<Moment> {
        std::mem::replace(self, MomentOrNone::NONE).get()
    }
}

impl From<Moment> for MomentOrNone {
    /// The last moment that there is counts as the one before it.
    fn from(moment: Moment) -> MomentOrNone {
        MomentOrNone(moment.0.min(u64::MAX - 1))
    }
}

impl Moment {
    /// The time from `earlier` to this moment, zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The tick in which this moment lies.
    fn tick(self) -> u64 {
        self.0 / TICK_NANOS
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        let nanos = duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into());
        Moment(self.0.saturating_add(nanos))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;

    fn sub(self, earlier: Moment) -> Duration {
        self.since(earlier)
    }
}

impl Wheel {
    /// Bytes of address space that are set aside for each slot.
    pub const SLOT_ROOM_SIZE: usize = size_of::<Link>();

    /// An empty wheel, its hand at `now`, with room for `slot_count` slots before it has to copy them. Room costs
    /// address space; it becomes memory as slots are timed.
    #[must_use]
    pub fn new(now: Moment, slot_count: usize) -> Wheel {
        let links = Vec::with_capacity(slot_count);
        Wheel { spokes: vec![NONE; SPOKE_COUNT as usize], links, done: now.tick(), count: 0 }
    }

    /// Has `slot` looked at once `deadline` has passed. An entry that is due earlier stays: whoever looks
    /// at it sees that it is too early and sets it again.
    pub fn set(&mut self, slot: u32, deadline: Moment) {
        let index = slot as usize;
        if index >= self.links.len() {
            self.links.resize(index + 1, Link::default());
        }
        let first = self.done + 1;
        // The tick after the one in which the deadline lies: by then it has passed. Past one round of the
        // wheel it is looked at earlier, once a round.
        let wait = deadline.tick().saturating_sub(self.done).min(WAIT_MAX);
        let link = self.links[index];
        if link.spoke != NONE && u64::from(link.spoke).wrapping_sub(first) % SPOKE_COUNT <= wait {
            return;
        }
        self.clear(slot);
        let spoke = spoke_of(first + wait);
        let next = std::mem::replace(&mut self.spokes[spoke], slot);
        if let Some(link) = self.links.get_mut(next as usize) {
            link.previous = slot;
        }
        self.links[index] = Link { next, previous: NONE, spoke: spoke as u32 };
        self.count += 1;
    }

    /// Takes `slot` out.
    pub fn clear(&mut self, slot: u32) {
        let Some(link) = self.links.get_mut(slot as usize).filter(|link| link.spoke != NONE) else { return };
        let Link { next, previous, spoke } = std::mem::take(link);
        match self.links.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.spokes[spoke as usize] = next,
        }
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = previous;
        }
        self.count -= 1;
    }

    /// Takes out a slot whose time has come, `None` when there is no other at `now`.
    pub fn due(&mut self, now: Moment) -> Option<u32> {
        while self.done < now.tick() {
            let slot = self.spokes[spoke_of(self.done + 1)];
            if slot != NONE {
                self.clear(slot);
                return Some(slot);
            }
            self.done += 1;
        }
        None
    }

    /// Whether nothing is timed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl Default for Link {
    /// In no list.
    fn default() -> Link {
        Link { next: NONE, previous: NONE, spoke: NONE }
    }
}

fn spoke_of(tick: u64) -> usize {
    (tick % SPOKE_COUNT) as usize
}

/// 512 ticks of 200 ms: longer than the usual deadlines.
const SPOKE_COUNT: u64 = 512;
/// Ticks that a slot waits at most behind the next one, or it would lie a round away.
const WAIT_MAX: u64 = SPOKE_COUNT - 2;
const TICK_NANOS: u64 = TICK.as_nanos() as u64;
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Moment {
        Moment(0) + Duration::from_secs_f64(seconds)
    }

    fn all_due(wheel: &mut Wheel, now: Moment) -> Vec<u32> {
        let mut slots: Vec<u32> = std::iter::from_fn(|| wheel.due(now)).collect();
        slots.sort_unstable();
        slots
    }

    #[test]
    fn a_slot_is_due_after_its_deadline_and_within_two_ticks() {
        // The hand begins at a round's first tick, at its last one, and in between.
        for (start, wait) in [0.0, 102.3, 1000.0]
            .into_iter()
            .flat_map(|start| [0.0, 0.1, 0.2, 1.05, 60.0, 101.9].map(|wait| (start, wait)))
        {
            let mut wheel = Wheel::new(seconds(start), 0);
            wheel.set(3, seconds(start + wait));
            assert_eq!(all_due(&mut wheel, seconds(start + wait)), [0u32; 0], "{wait} s behind {start}");
            assert_eq!(all_due(&mut wheel, seconds(start + wait) + 2 * TICK), [3], "{wait} s behind {start}");
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn a_deadline_past_one_round_is_looked_at_early_and_never_missed() {
        let mut wheel = Wheel::new(Moment(0), 16);
        wheel.set(0, seconds(1000.0));
        let mut now = Moment(0);
        let mut looks = 0;
        while now <= seconds(1001.0) {
            now = now + TICK;
            for slot in all_due(&mut wheel, now) {
                looks += 1;
                if now < seconds(1000.0) {
                    wheel.set(slot, seconds(1000.0));
                }
            }
        }
        assert!(wheel.is_empty() && looks > 1, "looked {looks} times");
    }

    #[test]
    fn an_earlier_deadline_replaces_a_later_one_and_a_cleared_slot_is_never_due() {
        let mut wheel = Wheel::new(Moment(0), 16);
        for slot in 0..10 {
            wheel.set(slot, seconds(50.0));
            wheel.set(slot, seconds(if slot % 2 == 0 { 1.0 } else { 70.0 }));
        }
        wheel.clear(4);
        assert_eq!(all_due(&mut wheel, seconds(2.0)), [0, 2, 6, 8]);
        assert_eq!(all_due(&mut wheel, seconds(51.0)), [1, 3, 5, 7, 9]);
        assert!(wheel.is_empty());
    }
}
