//! Many uploads at once, and an honest client beside them.

use std::time::Duration;

use super::async_support::site::{Noise, Sum};
use super::attack_support::crowd::{Crowd, Member};
use super::attack_support::honest::{Honest, median};
use super::attack_support::server::Server;
use super::{ask, connect, on_both};

const COUNT: usize = 200;
/// A window, which counts among all bodies.
const WINDOW_KIB: i64 = 64;
/// What all windows together may hold, and all blocks: with what came before they were stopped. It is what follows from these
/// flags, and nothing else is needed for it.
const LIMITS: &[&str] = &["--body-max", "0", "--bodies-max", "13107200", "--blocks-max", "1024"];
const LIMITS_KIB: i64 = 12_800 + 1024 * 16;
/// Requests of the honest one in a round.
const ROUND_COUNT: usize = 20;
/// How long one of them may take, in the middle.
const LATENCY_MAX: Duration = Duration::from_millis(50);

/// Uploads of `size` bytes each, as far as they have been sent.
struct Uploads {
    crowd: Crowd,
    sent: Vec<usize>,
    body: Vec<u8>,
    sum: String,
}

impl Uploads {
    fn begin(server: &Server, path: &str, size: usize) -> Uploads {
        let mut body = vec![0; size];
        Noise::seeded().fill(&mut body);
        let mut sum = Sum::of_nothing();
        sum.add(&body);
        let mut crowd = Crowd::connect(server.address, COUNT);
        crowd.members.iter().for_each(Member::narrow);
        crowd.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n").as_bytes());
        Uploads { crowd, sent: vec![0; COUNT], body, sum: sum.text() }
    }

    /// Each sends so much more, as far as its socket takes it.
    fn send(&mut self, size: usize) {
        for (member, sent) in self.crowd.members.iter_mut().zip(&mut self.sent) {
            let end = (*sent + size).min(self.body.len());
            *sent += member.send(&self.body[*sent..end]);
        }
    }

    fn is_sent(&self) -> bool {
        self.sent.iter().all(|sent| *sent == self.body.len())
    }

    /// Waits for all answers, which must be right.
    fn end(mut self) {
        let is_answered = |member: &Member| member.received.ends_with(self.sum.as_bytes());
        let describe = |crowd: &Crowd| crowd.count(|member| member.status() == 200);
        self.crowd.read_until("all are answered", |crowd| {
            for (member, sent) in crowd.members.iter_mut().zip(&mut self.sent) {
                *sent += member.send(&self.body[*sent..]);
            }
            crowd.count(is_answered) == COUNT
        });
        assert_eq!(describe(&self.crowd), COUNT, "{}", self.crowd.describe());
    }
}

#[test]
fn slow_uploads_hold_up_nobody_and_cost_what_the_limits_say() {
    on_both("slow_uploads", LIMITS, |server, io| {
        let honest = Honest::start(server.address);
        let quiet = honest.median(ROUND_COUNT);
        let before_kib = server.resident_kib();
        // 40 pieces, each behind twenty requests of the honest one.
        let mut uploads = Uploads::begin(server, "/upload", 40 * 2500);
        let (mut highest_kib, mut latencies) = (before_kib, Vec::new());
        while !uploads.is_sent() {
            uploads.send(2500);
            latencies.extend(honest.latencies(ROUND_COUNT, || {}));
            highest_kib = highest_kib.max(server.resident_kib());
        }
        uploads.end();
        let (busy, growth_kib) = (median(latencies), highest_kib - before_kib);
        println!(
            "{io}: {growth_kib} KiB more, honest median {quiet:?} before and {busy:?} beside {COUNT} slow uploads"
        );
        assert!(busy < LATENCY_MAX, "{busy:?} in the middle");
        assert!(growth_kib <= WINDOW_KIB * COUNT as i64, "memory grew by {growth_kib} KiB");
        honest.end();
    });
}

/// The same from peers that are fast, to an application that does not read: each fills its window and is stopped. One more
/// than all bodies together may have is refused.
#[test]
fn uploads_that_nobody_reads_are_stopped_by_their_windows() {
    on_both("uploads_that_nobody_reads", LIMITS, |server, io| {
        let mut other = connect(server);
        let before_kib = server.resident_kib();
        // More than the kernel takes between two sockets.
        let mut uploads = Uploads::begin(server, "/gated", 1 << 20);
        let (mut highest_kib, mut moved, mut still_count) = (before_kib, usize::MAX, 0);
        while still_count < 20 {
            uploads.send(usize::MAX / 2);
            assert_eq!(ask(&mut other, "/"), "Hello, World!", "whoever is fast is served meanwhile");
            highest_kib = highest_kib.max(server.resident_kib());
            let sent = uploads.sent.iter().sum();
            still_count = if sent == moved { still_count + 1 } else { 0 };
            moved = sent;
        }
        assert!(!uploads.is_sent(), "they are stopped");
        let growth_kib = highest_kib - before_kib;
        println!("{io}: {growth_kib} KiB more for {COUNT} windows");
        assert!(growth_kib >= WINDOW_KIB * COUNT as i64 * 9 / 10, "the windows are full: {growth_kib} KiB");
        assert!(growth_kib <= LIMITS_KIB, "memory grew by {growth_kib} KiB");
        let mut refused = Crowd::connect(server.address, 1);
        refused.send(b"POST /gated HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
        refused.read_to_end();
        assert_eq!(refused.members[0].status(), 503, "all bodies together have what they may have");
        ask(&mut other, "/gate");
        uploads.end();
    });
}
