//! Whole workers on a simulated kernel, by many seeds. (Where the n-th operation fails for every n: `failures`.)
//!
//! A run draws its peers, its requests and its faults from one seed. At its end every peer whose connection
//! was spared has received exactly what the protocol alone would answer, byte for byte; every other one has
//! received a beginning of it; all blocks are home, all slots free, all sockets closed. `RINGWAY_SIM_SEEDS` is
//! the number of seeds (2000), `RINGWAY_SIM_SEED` replays one.

mod support;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway::buffer::Pool;
use ringway::connection::Limits;
use ringway::driver::sim::{Chance, End, Fault, Faults, Odds, Sim, SimPeer, TABLE};
use ringway::environ::Origin;
use ringway::stats::{Limit, Row};
use ringway::sys::Waker;
use ringway::worker::{Control, Settings, Worker};
use ringway::{Answer, Application, Environ, Payload, Pulled, Responded, Room, StartResponse, Status, Stream, app};

use support::fixtures::pattern;
use support::memory::{Memory, without_date};

/// Answers that were put off, to be completed by the test in any order, or dropped.
type Later = Rc<RefCell<Vec<(Answer, usize)>>>;

/// Lends its bytes in pieces, with one byte put before each.
struct Lender(Vec<u8>, usize);

impl Stream for Lender {
    fn pull(&mut self, room: &mut Room<'_>) -> std::io::Result<Pulled> {
        let rest = &self.0[self.1..];
        let piece = &rest[..rest.len().min(5000)];
        let (put, lent) = piece.split_at(piece.len().min(1));
        room.put(put);
        room.lend(Payload::Owned(Box::new(lent.to_vec())));
        self.1 += piece.len();
        Ok(if self.1 == self.0.len() { Pulled::End } else { Pulled::More })
    }
}

/// What the simulated peers ask: by the path, at once or later.
fn application(later: Option<Later>) -> Box<dyn Application> {
    Box::new(app(move |environ: &Environ<'_>, start_response: StartResponse<'_>| {
        let size = String::from_utf8_lossy(environ.query_string()).parse().unwrap_or(10);
        match environ.path_info() {
            b"/later" => match &later {
                Some(later) => {
                    let (responded, answer) = start_response.later();
                    later.borrow_mut().push((answer, size));
                    responded
                }
                None => start_response.start(Status::OK).body(pattern(size)),
            },
            b"/dropped" => start_response.later().0,
            // The answer given up comes back while a later request may be pending.
            b"/restarted" => start_response.later().0.restart().start(Status::OK).body("at once after all"),
            b"/fail" => start_response.fail("on purpose"),
            b"/panic" => panic!("on purpose"),
            b"/echo" => match environ.input().file() {
                Some(range) => start_response.start(Status::OK).file(range.file, range.offset, range.size),
                None => start_response.start(Status::OK).body(environ.input().bytes()),
            },
            b"/owned" => start_response.start(Status::OK).body_owned(pattern(size)),
            b"/lent" => start_response.start(Status::OK).stream(Lender(pattern(size), 0)),
            b"/stream" => {
                let blocks: Vec<Vec<u8>> = pattern(size).chunks(3000).map(<[u8]>::to_vec).collect();
                start_response.start(Status::OK).stream(ringway::blocks(blocks))
            }
            _ => start_response.start(Status::OK).body(pattern(size)),
        }
    }))
}

fn body(responded: StartResponse<'_>, size: usize) -> Responded<'_> {
    responded.start(Status::OK).body(pattern(size))
}

/// One request, drawn.
fn request(chance: &mut Chance) -> Vec<u8> {
    let size = chance.pick(&[0, 1, 100, 4000, 20_000]);
    let path = chance.pick(&[
        "/",
        "/later",
        "/later",
        "/restarted",
        "/dropped",
        "/fail",
        "/panic",
        "/owned",
        "/stream",
        "/lent",
    ]);
    let line = |method: &str, path: &str| format!("{method} {path}?{size} HTTP/1.1\r\nHost: h\r\n");
    match chance.below(10) {
        0 => format!("{}\r\n", line("HEAD", path)).into_bytes(),
        1 => format!("{}X: {}\r\n\r\n", line("GET", path), "x".repeat(12_000)).into_bytes(),
        2 => {
            let mut bytes = format!("{}Transfer-Encoding: chunked\r\n\r\n", line("POST", "/echo")).into_bytes();
            for chunk in pattern(size).chunks(777) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            bytes
        }
        3 | 4 => {
            let size = if chance.below(12) == 0 { 300_000 } else { size };
            let head = format!("{}Content-Length: {size}\r\n\r\n", line("POST", "/echo"));
            [head.into_bytes(), pattern(size)].concat()
        }
        5 => format!("GET {path}?{size} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").into_bytes(),
        _ => format!("{}\r\n", line("GET", path)).into_bytes(),
    }
}

/// What a peer sends in all, and what the protocol alone answers to it.
struct Conversation {
    bytes: Vec<u8>,
    /// Without dates.
    expected: Vec<u8>,
    /// With them.
    expected_size: usize,
}

impl Conversation {
    fn drawn(chance: &mut Chance) -> Conversation {
        let mut bytes = Vec::new();
        for _ in 0..1 + chance.below(6) {
            bytes.extend(request(chance));
        }
        match chance.below(4) {
            0 => bytes.extend_from_slice(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
            1 => bytes.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n"),
            _ => {}
        }
        let mut memory = Memory::new(application(None));
        memory.receive(&bytes);
        Conversation { bytes, expected: without_date(&memory.sent), expected_size: memory.sent.len() }
    }
}

struct Run {
    worker: Worker<Sim>,
    control: Arc<Control>,
    later: Later,
    chance: Chance,
    conversations: Vec<Conversation>,
    stats: Row,
    /// Whether there are so few blocks that a request in pieces may be refused.
    is_short: bool,
    replay: String,
}

impl Run {
    fn new(seed: u64, odds: impl FnOnce(&mut Chance) -> Odds, replay: String) -> Run {
        ringway::connection::quiet_panics();
        let mut chance = Chance::new(seed);
        let odds = odds(&mut chance);
        let count = 1 + chance.below(8);
        let conversations: Vec<Conversation> = (0..count).map(|_| Conversation::drawn(&mut chance)).collect();
        let peers = conversations.iter().map(|talk| SimPeer::drawn(&talk.bytes, &mut chance)).collect();
        let block_count = chance.pick(&[2, 6, 1000, 1000]);
        let waker = Waker::new().expect("an eventfd");
        let control = Arc::new(Control::new(waker.clone()));
        let sim = Sim::new(seed, odds, peers, Pool::new(0, block_count), waker);
        let connection_count_max = chance.pick(&[1, 2, 100]);
        let body_memory = chance.pick(&[1000, 1 << 20]);
        let stats = Row::default();
        let settings = Settings {
            limits: Limits { body_memory, ..Limits::default() },
            listeners: vec![Origin { server_name: "h".into(), server_port: "80".into(), url_scheme: "http" }],
            own_listeners: vec![true],
            access_log: None,
            shows_request_ids: false,
            connection_count_max,
            spool_dir: std::env::temp_dir(),
            stats: stats.clone(),
            reserve: ringway::sys::Reserve::default(),
            graceful_timeout: Duration::from_secs(30),
        };
        let later = Later::default();
        let worker = Worker::new(sim, application(Some(later.clone())), settings, control.clone());
        Run { worker, control, later, chance, conversations, stats, is_short: block_count < 50, replay }
    }

    /// One turn, in which some of the answers that were put off may be completed, in any order.
    fn turn(&mut self) -> bool {
        let goes_on = self.worker.turn().expect("the simulated kernel stays usable");
        let counts = self.stats.counts();
        assert_eq!(counts.states, self.worker.count_states(), "a gauge has drifted; {}", self.replay);
        let open_count = self.worker.connection_count() as u64;
        assert_eq!((counts.open_count(), counts.accepted - counts.closed), (open_count, open_count), "{}", self.replay);
        while self.chance.below(3) == 0 {
            let count = self.later.borrow().len() as u64;
            if count == 0 {
                break;
            }
            let index = self.chance.below(count) as usize;
            let (answer, size) = self.later.borrow_mut().swap_remove(index);
            // The bound of `respond` wants a function of any lifetime, so the size goes by a closure's capture.
            answer.respond(move |start_response| body(start_response, size));
        }
        goes_on
    }

    /// Runs until every peer has its end, then drains.
    fn finish(mut self) -> Faults {
        self.worker.start();
        let mut turns = 0;
        while !self.is_settled() {
            turns += 1;
            if turns == TURN_COUNT_MAX {
                let state = self.state();
                panic!("it does not come to an end; {}: {state}", self.replay);
            }
            self.turn();
        }
        // Nobody is queued any more, so that both leave nobody behind.
        if self.chance.below(2) == 0 {
            self.control.drain();
        } else {
            self.control.retire();
        }
        while self.turn() {
            turns += 1;
            assert!(turns < 2 * TURN_COUNT_MAX, "the drain does not come to an end; {}", self.replay);
        }
        let replay = &self.replay;
        assert_eq!(self.worker.connection_count(), 0, "slots are left; {replay}");
        let sim = self.worker.driver_mut();
        assert_eq!(sim.open_count(), 0, "sockets are left open; {replay}");
        use ringway::driver::Driver;
        assert_eq!(sim.pool().away_count(), 0, "blocks are not home; {replay}");
        let faults = sim.faults().clone();
        let counts = self.stats.counts();
        assert_eq!((counts.states, counts.accepted), ([0; 5], counts.closed), "all are counted out; {replay}");
        let is_shed = self.is_short && self.stats.counts().of(Limit::Blocks) > 0;
        for (index, (peer, talk)) in sim.peers().iter().zip(&self.conversations).enumerate() {
            judge(peer, talk, self.is_short, is_shed, &format!("peer {index}; {replay}"));
        }
        faults
    }

    /// How the peers stand, for a message.
    fn state(&mut self) -> String {
        let later_count = self.later.borrow().len();
        let connection_count = self.worker.connection_count();
        let peers = self.worker.driver_mut().peers().iter().zip(&self.conversations);
        let peers: Vec<String> = peers
            .map(|(peer, talk)| format!("{peer}, {} of {} bytes", peer.received().len(), talk.expected.len()))
            .collect();
        format!(
            "{connection_count} slots, {later_count} answers put off\n{}\n{:?}",
            peers.join("\n"),
            self.worker.driver_mut()
        )
    }

    /// Whether every peer has said everything, and has its answers or will get no more.
    fn is_settled(&mut self) -> bool {
        let later_count = self.later.borrow().len();
        let conversations = &self.conversations;
        let mut peers = self.worker.driver_mut().peers().iter().zip(conversations);
        later_count == 0
            && peers.all(|(peer, talk)| {
                let has_ended = peer.end() > End::Finished || peer.has_left();
                let has_all = peer.has_sent_all() && peer.received().len() >= talk.expected_size;
                has_ended || has_all
            })
    }
}

/// A spared peer has received exactly what it should; a hurt one a beginning of it, perhaps with the refusal of
/// a body that could not be stored. Where blocks were so short that peers were let go, each may be one of them.
fn judge(peer: &SimPeer, talk: &Conversation, is_short: bool, is_shed: bool, replay: &str) {
    let mut received = without_date(peer.received());
    if is_short || peer.is_hurt() {
        // The refusal may itself have been cut by a failing send.
        let refusal = b"HTTP/1.1 503 ";
        let is_refusal = |at: &usize| received[*at..].starts_with(refusal) || refusal.starts_with(&received[*at..]);
        if let Some(at) = (0..received.len()).find(is_refusal) {
            received.truncate(at);
            assert!(talk.expected.starts_with(&received), "{replay}: wrong bytes before the refusal");
            return;
        }
    }
    let is_right =
        if peer.is_hurt() || is_shed { talk.expected.starts_with(&received) } else { received == talk.expected };
    if !is_right {
        let at = received.iter().zip(&talk.expected).take_while(|(one, other)| one == other).count();
        let around = |bytes: &[u8]| {
            String::from_utf8_lossy(&bytes[at.saturating_sub(100)..(at + 100).min(bytes.len())]).into_owned()
        };
        let (sizes, ours, theirs) = ((received.len(), talk.expected.len()), around(&received), around(&talk.expected));
        panic!("{replay}: different from byte {at} on, of {sizes:?}\nreceived {ours:?}\nexpected {theirs:?}\n{peer}");
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match number("RINGWAY_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGWAY_SIM_SEEDS").unwrap_or(2000),
    }
}

#[test]
fn seeds_come_to_a_right_end() {
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let faults = on_every_processor(seeds, |seed| {
        let replay = format!("replay: RINGWAY_SIM_SEED={seed} cargo test --test simulation seeds");
        Run::new(seed, Odds::drawn, replay).finish()
    });
    for row in TABLE {
        println!("{:?}: {} injected in {count} seeds", row.fault, faults.of(row.fault));
    }
    for row in TABLE {
        let least = count / 200;
        let struck = faults.of(row.fault);
        assert!(count < 100 || struck >= least, "{:?} struck only {struck} times in {count} seeds", row.fault);
    }
}

/// Runs each number on one of as many threads as there are processors, and adds up what was injected.
fn on_every_processor(numbers: std::ops::Range<u64>, run: impl Fn(u64) -> Faults + Sync) -> Faults {
    let next = AtomicU64::new(numbers.start);
    let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut faults = Faults::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= numbers.end {
                return faults;
            }
            faults.add(&run(number));
        }
    };
    let mut faults = Faults::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(more) => faults.add(&more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    faults
}

#[test]
fn a_slow_head_is_answered_and_an_unanswered_request_is_cut() {
    let bytes = b"GET / HTTP/1.1\r\nHost".to_vec();
    let never = b"GET /later HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let mut run = Run::new(1, |_| Odds::none(), "two peers".into());
    *run.worker.driver_mut().peers() = vec![
        SimPeer::stepwise(vec![bytes], false),
        SimPeer::stepwise(vec![never], false),
        SimPeer::stepwise(vec![], false),
    ];
    run.worker.start();
    for _ in 0..200 {
        run.worker.turn().expect("it stays usable");
    }
    let peers = run.worker.driver_mut().peers();
    assert!(peers[0].received().starts_with(b"HTTP/1.1 408 "), "the slow head gets 408");
    assert_eq!(peers[2].received(), b"", "a connection without a byte is closed silently");
    assert!(peers[2].end() >= End::Closed);
    assert_eq!(peers[1].end(), End::Open, "a slow application costs its client nothing");
    run.control.drain();
    for _ in 0..1000 {
        if !run.worker.turn().expect("it stays usable") {
            break;
        }
    }
    assert_eq!(run.worker.outcome().cut_count, 1);
    assert_eq!(run.worker.connection_count(), 0);
}

#[test]
fn a_stop_at_any_moment_ends_the_worker() {
    use ringway::driver::Driver;
    for seed in 0..500 {
        let mut run = Run::new(seed, |chance| Odds::drawn(chance).with(Fault::CancelMissed, 0), format!("seed {seed}"));
        // No deadline passes: nothing but the stop itself can close a connection.
        run.worker.driver_mut().hold_time();
        run.worker.start();
        for _ in 0..run.chance.below(60) {
            run.worker.turn().expect("it stays usable");
        }
        run.control.stop();
        let mut turns = 0;
        while run.worker.turn().expect("it stays usable") {
            turns += 1;
            if turns == 1000 {
                let state = run.state();
                panic!("the stop does not come to an end; {}: {state}", run.replay);
            }
        }
        assert_eq!(run.worker.connection_count(), 0, "slots are left; {}", run.replay);
        assert_eq!(run.worker.driver_mut().open_count(), 0, "sockets are left open; {}", run.replay);
        assert_eq!(run.worker.driver_mut().pool().away_count(), 0, "blocks are not home; {}", run.replay);
    }
}

/// The most blocks that are held for one peer whose first request waits for its answer, while what follows would
/// fill block after block.
fn held_for_a_flood(is_short: bool, odds: &Odds, plan: Option<(Fault, u64)>) -> usize {
    use ringway::driver::Driver;
    let runs = (1..).map(|seed| Run::new(seed, |_| odds.clone(), "one peer".into()));
    let mut run = { runs }.find(|run| run.is_short == is_short).expect("some runs have blocks enough, others not");
    let flood = pattern(ringway::buffer::BLOCK_SIZE * 400);
    let first = b"GET /later HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let sim = run.worker.driver_mut();
    *sim.peers() = vec![SimPeer::stepwise(vec![first, flood], false)];
    if let Some((fault, number)) = plan {
        sim.plan(fault, number);
    }
    run.worker.start();
    let mut away_max = 0;
    for _ in 0..1000 {
        run.worker.turn().expect("it stays usable");
        away_max = away_max.max(run.worker.driver_mut().pool().away_count());
    }
    assert_eq!(run.stats.counts().of(Limit::Blocks) > 0, is_short, "a peer is let go where blocks are short");
    away_max
}

#[test]
fn a_peer_that_is_ahead_is_held_back() {
    assert!((2..5).contains(&held_for_a_flood(false, &Odds::none(), None)));
    // A receive that finds no block before it is cancelled is not simply armed again.
    let starved = Odds::none().with(Fault::CancelRaced, 1000).with(Fault::ReceiveStarved, 500);
    let held = held_for_a_flood(false, &starved, None);
    assert!(held < 10, "{held} blocks were held");
    let held = held_for_a_flood(false, &Odds::none(), Some((Fault::CancelMissed, 1)));
    assert!((64..70).contains(&held), "{held} blocks were held");
    let held = held_for_a_flood(true, &Odds::none(), Some((Fault::CancelMissed, 1)));
    assert!(held < 10, "{held} blocks were held");
}

/// A connection's receives last, but for large bodies one behind the other: there the head comes by a receive of one block,
/// and the body into its own memory. Any other request puts an end to that.
#[test]
fn receives_last_again_behind_a_request_without_a_large_body() {
    use ringway::driver::sim::Receives;
    let large = || [&b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n"[..], &pattern(40_000)].concat();
    let get = || b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let chunked = b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec();
    let last_chunk = b"0\r\n\r\n".to_vec();
    let receives = |segments: Vec<Vec<u8>>| -> Receives {
        let runs = (1..).map(|seed| Run::new(seed, |_| Odds::none(), "one peer".into()));
        let mut run = { runs }.find(|run| !run.is_short).expect("some runs have blocks enough");
        *run.worker.driver_mut().peers() = vec![SimPeer::stepwise(segments, true)];
        run.worker.start();
        let mut turn_count = 0;
        while run.worker.driver_mut().peers()[0].end() < End::Closed {
            turn_count += 1;
            assert!(turn_count < 1000, "it does not come to an end: {}", run.state());
            run.worker.turn().expect("it stays usable");
        }
        run.worker.driver_mut().receives()
    };
    let counts = |receives: Receives| (receives.lasting_count, receives.single_count, receives.filling_count > 0);
    // The first comes by the receive that is armed at the accept, and so does the second's head.
    assert_eq!(counts(receives(vec![large()])), (1, 0, false));
    assert_eq!(counts(receives(vec![large(), large()])), (1, 1, true));
    assert_eq!(counts(receives(vec![large(), large(), large(), large()])), (1, 3, true));
    // The single one is that by which the next request comes, whatever it is.
    assert_eq!(counts(receives(vec![large(), large(), get(), get(), get(), get()])), (2, 1, true));
    assert_eq!(counts(receives(vec![large(), large(), chunked, last_chunk, get()])), (2, 1, true));
    assert_eq!(counts(receives(vec![large(), get(), large(), get(), large(), get()])), (1, 0, false));
}

const TURN_COUNT_MAX: usize = 200_000;
