//! A script on the simulated kernel. It ends with every slot free, every socket closed and every block home, or it
//! panics.

use std::fmt::Write;
use std::sync::Arc;

use ringway::buffer::Pool;
use ringway::driver::Driver;
use ringway::driver::sim::{self, Fault, Faults, Odds, Sim, SimPeer};
use ringway::environ::Origin;
use ringway::stats::Row;
use ringway::sys::Waker;
use ringway::worker::{Control, Settings, Worker};

use super::app::{App, Later, complete};
use super::script::{End, Played, Reader, Script, Step, Talk};
use crate::support::memory::without_date;

/// How a script went.
pub struct Run {
    pub played: Played,
    /// For each talk whether something cost it its connection.
    pub is_hurt: Vec<bool>,
    pub faults: Faults,
}

struct Player<'s> {
    script: &'s Script,
    plan: Option<(Fault, u64)>,
    worker: Worker<Sim>,
    control: Arc<Control>,
    later: Later,
    is_draining: bool,
    /// For each talk its next step, and how much it has heard of what it has received.
    places: Vec<(usize, usize)>,
}

/// Plays a script; a planned fault strikes at its n-th occasion.
pub fn play(script: &Script, plan: Option<(Fault, u64)>) -> Run {
    let mut player = Player::new(script, plan);
    player.worker.start();
    let mut turns = 0;
    while !player.is_over() {
        turns += 1;
        if turns > TURN_COUNT_MAX {
            let state = player.state();
            panic!("{}: it does not come to an end: {state}", player.name());
        }
        player.turn();
        for index in 0..script.talks.len() {
            player.step(index);
        }
    }
    player.control.drain();
    while player.turn() {
        turns += 1;
        if turns > 2 * TURN_COUNT_MAX {
            let state = player.state();
            panic!("{}: the drain does not come to an end: {state}", player.name());
        }
    }
    player.finish()
}

impl<'s> Player<'s> {
    fn new(script: &'s Script, plan: Option<(Fault, u64)>) -> Player<'s> {
        ringway::connection::quiet_panics();
        let peer = |talk: &Talk| {
            let mut peer = SimPeer::stepwise(Vec::new(), false);
            match talk.reader {
                Reader::Fast => {}
                Reader::Slow => peer.slow_down(10),
                Reader::Stuck => peer.get_stuck(),
            }
            peer
        };
        let peers = script.talks.iter().map(peer).collect();
        let waker = Waker::new().expect("an eventfd");
        let control = Arc::new(Control::new(waker.clone()));
        let mut sim = Sim::new(1, Odds::none(), peers, Pool::new(0, script.room.block_count_max), waker);
        if let Some((fault, number)) = plan {
            sim.plan(fault, number);
        }
        let settings = Settings {
            limits: script.room.limits.clone(),
            listeners: vec![Origin { server_name: "h".into(), server_port: "80".into(), url_scheme: "http" }],
            own_listeners: vec![true],
            access_log: None,
            shows_request_ids: false,
            connection_count_max: script.room.connection_count_max,
            spool_dir: std::env::temp_dir(),
            stats: Row::default(),
            reserve: ringway::sys::Reserve::default(),
            graceful_timeout: script.room.graceful_timeout,
        };
        let later = Later::default();
        let worker = Worker::new(sim, App::keeping(later.clone()), settings, control.clone());
        Player { script, plan, worker, control, later, is_draining: false, places: vec![(0, 0); script.talks.len()] }
    }

    fn name(&self) -> String {
        match self.plan {
            None => self.script.name.clone(),
            Some((fault, number)) => format!("{}, {fault:?} at its occasion {number}", self.script.name),
        }
    }

    fn turn(&mut self) -> bool {
        let goes_on = self.worker.turn().expect("the simulated kernel stays usable");
        for (answer, size) in self.later.borrow_mut().drain(..) {
            complete(answer, size);
        }
        goes_on
    }

    /// Lets a peer take the steps that it can.
    fn step(&mut self, index: usize) {
        let (place, heard) = &mut self.places[index];
        let is_listening = self.worker.driver_mut().is_listening();
        let peer = &mut self.worker.driver_mut().peers()[index];
        while let Some(step) = self.script.talks[index].steps.get(*place) {
            match step {
                _ if peer.end() > sim::End::Finished || peer.has_left() => {
                    // The others may wait for what it cannot do any more.
                    if self.script.talks[index].steps[*place..].contains(&Step::Drain) {
                        self.is_draining = true;
                        self.control.drain();
                        *place = self.script.talks[index].steps.len();
                    }
                    return;
                }
                Step::Say(_) | Step::Finish if !peer.has_been_heard() => return,
                Step::Say(bytes) => peer.say(bytes.clone()),
                Step::Hear(bytes) => match memchr::memmem::find(&peer.received()[*heard..], bytes) {
                    Some(at) => *heard += at + bytes.len(),
                    None => return,
                },
                Step::Finish => peer.finish(),
                Step::Reset => peer.reset(),
                Step::Drain => {
                    // Said once, or the wake-ups would keep the time from passing.
                    if !std::mem::replace(&mut self.is_draining, true) {
                        self.control.drain();
                    }
                    if is_listening {
                        return;
                    }
                }
            }
            *place += 1;
        }
    }

    fn is_over(&mut self) -> bool {
        self.worker.driver_mut().peers().iter().all(|peer| peer.end() > sim::End::Finished || peer.has_left())
    }

    fn finish(mut self) -> Run {
        let name = self.name();
        assert_eq!(self.worker.connection_count(), 0, "{name}: slots are left");
        let cut_count = self.worker.outcome().cut_count;
        let sim = self.worker.driver_mut();
        sim.settle();
        assert_eq!(sim.open_count(), 0, "{name}: sockets are left open");
        assert_eq!(sim.pool().away_count(), 0, "{name}: blocks are not home");
        let faults = sim.faults().clone();
        let is_hurt = sim.peers().iter().map(SimPeer::is_hurt).collect();
        let heard = |peer: &SimPeer| {
            let end = match peer.end() {
                _ if peer.has_left() => End::Left,
                sim::End::Reset => End::Reset,
                sim::End::Open | sim::End::Finished | sim::End::Closed => End::Closed,
            };
            (without_date(peer.received()), end)
        };
        let talks = sim.peers().iter().map(heard).collect();
        Run { played: Played { talks, cut_count }, is_hurt, faults }
    }

    fn state(&mut self) -> String {
        let mut state = format!("{} slots\n", self.worker.connection_count());
        for (peer, (place, _)) in self.worker.driver_mut().peers().iter().zip(&self.places) {
            let _ = writeln!(state, "{peer}, at step {place}, {} bytes received", peer.received().len());
        }
        let _ = write!(state, "{:?}", self.worker.driver_mut());
        state
    }
}

/// Far more than any script takes.
const TURN_COUNT_MAX: usize = 5000;
