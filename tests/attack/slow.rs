//! Peers that take their time: to send a head, to send a body, to say anything, to read an answer.

use std::time::{Duration, Instant};

use crate::attack_support::crowd::{Crowd, End};
use crate::attack_support::honest::{Honest, median};
use crate::attack_support::server::Server;

/// Each member sends a piece so often.
const DRIP: Duration = Duration::from_millis(100);
const OFFENDER_COUNT: usize = 500;
/// Requests that a median is taken of: half a second of an honest client.
const SAMPLE_COUNT: usize = 500;
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// How late a deadline may be noticed: two ticks, and what this machine may be late itself.
const LATE_MAX: Duration = Duration::from_millis(1500);

/// Sends each member's next piece when its time has come, evenly spread.
struct Drip {
    start: Instant,
    sent_count: usize,
}

impl Drip {
    fn new() -> Drip {
        Drip { start: Instant::now(), sent_count: 0 }
    }

    fn advance(&mut self, crowd: &mut Crowd, piece: impl Fn(usize) -> &'static [u8]) {
        let count = crowd.members.len();
        let due = (self.start.elapsed().as_secs_f64() / DRIP.as_secs_f64() * count as f64) as usize;
        while self.sent_count < due {
            let index = self.sent_count % count;
            crowd.members[index].send(piece(index));
            self.sent_count += 1;
        }
    }
}

/// Half of them declare a length, half send chunks.
fn body_piece(index: usize) -> &'static [u8] {
    if index.is_multiple_of(2) { b"x" } else { b"1\r\nx\r\n" }
}

/// 500 heads and 500 bodies, a byte at a time. An honest client's median stays under twice the quiet one. It is the
/// best of three rounds, because what else runs on this machine during one of the two halves is not the server's doing.
pub(crate) fn heads_and_bodies(io: &str) {
    let server = Server::start(io, &["--head-timeout", "1s", "--body-idle", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    for round in 1.. {
        let (quiet, attacked) = one_round(&server, &honest);
        println!("{io}: honest median {quiet:?} quiet, {attacked:?} under 500 slow heads and 500 slow bodies");
        server.wait_for_home(home);
        if attacked < 2 * quiet {
            break;
        }
        assert!(round < 3, "{attacked:?} is more than twice {quiet:?}");
    }
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}

fn one_round(server: &Server, honest: &Honest) -> (Duration, Duration) {
    let quiet = honest.median(SAMPLE_COUNT);
    let mut bodies = Crowd::connect(server.address, OFFENDER_COUNT);
    for (index, member) in bodies.members.iter_mut().enumerate() {
        let framing = if index.is_multiple_of(2) { "Content-Length: 100000" } else { "Transfer-Encoding: chunked" };
        member.send(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").as_bytes());
    }
    let mut heads = Crowd::connect(server.address, OFFENDER_COUNT);
    let start = Instant::now();
    heads.send(b"GET / HTTP/1.1\r\nHost: h\r\nX: ");
    let (mut head_drip, mut body_drip) = (Drip::new(), Drip::new());
    let attacked = honest.latencies(SAMPLE_COUNT, || {
        head_drip.advance(&mut heads, |_| b"x");
        body_drip.advance(&mut bodies, body_piece);
    });
    heads.read_until("the slow heads are gone", |heads| {
        head_drip.advance(heads, |_| b"x");
        body_drip.advance(&mut bodies, body_piece);
        heads.is_over()
    });
    let elapsed = start.elapsed();
    assert!(HEAD_TIMEOUT <= elapsed && elapsed < HEAD_TIMEOUT + LATE_MAX, "slow heads were gone after {elapsed:?}");
    assert_eq!(heads.count(|member| member.status() == 408), OFFENDER_COUNT, "{}", heads.describe());
    // A body that makes progress may go on; one that stops is cut after its deadline.
    bodies.read(Duration::ZERO);
    assert_eq!(bodies.count(|member| member.end.is_none()), OFFENDER_COUNT, "{}", bodies.describe());
    let start = Instant::now();
    bodies.read_to_end();
    assert!(start.elapsed() < Duration::from_secs(1) + LATE_MAX, "slow bodies were gone after {:?}", start.elapsed());
    assert_eq!(bodies.count(|member| member.status() == 408), OFFENDER_COUNT, "{}", bodies.describe());
    (quiet, median(attacked))
}

/// Who connects and says nothing is closed without a word, and so is who falls silent after an answer.
pub(crate) fn silence(io: &str) {
    let server = Server::start(io, &["--head-timeout", "1s", "--keepalive", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let start = Instant::now();
    let mut mute = Crowd::connect(server.address, OFFENDER_COUNT);
    let mut quiet = Crowd::connect(server.address, OFFENDER_COUNT);
    quiet.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    mute.read_to_end();
    quiet.read_to_end();
    let elapsed = start.elapsed();
    assert!(HEAD_TIMEOUT <= elapsed && elapsed < HEAD_TIMEOUT + LATE_MAX, "silence was cut after {elapsed:?}");
    assert_eq!(mute.count(|member| member.received.is_empty() && member.end == Some(End::Finished)), OFFENDER_COUNT);
    assert_eq!(quiet.count(|member| member.received.ends_with(b"Hello, World!")), OFFENDER_COUNT);
    server.wait_for_home(home);
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}

/// Who asks for megabytes and reads none of them is closed after the write deadline, and what was kept for it is freed.
pub(crate) fn readers(io: &str) {
    const READER_COUNT: usize = 40;
    let server = Server::start(io, &["--write-idle", "1s", "--linger-timeout", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let mut crowd = Crowd::connect(server.address, READER_COUNT);
    // More in all than the kernel keeps of an answer, so that the server is left with some of it.
    let body = vec![b'x'; 1 << 20];
    let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), &body].concat();
    let requests = request.repeat(8);
    let mut sent = vec![0; READER_COUNT];
    let mut highest_kib = 0;
    server.wait_until("the readers are gone", || {
        for (member, sent) in crowd.members.iter_mut().zip(&mut sent) {
            *sent += member.send(&requests[*sent..]);
        }
        highest_kib = highest_kib.max(server.resident_kib());
        server.descriptor_count() == home.descriptor_count
    });
    server.wait_for_home(home);
    crowd.read_to_end();
    let answer_count = |received: &[u8]| received.windows(5).filter(|window| *window == b"HTTP/").count();
    assert!(crowd.members.iter().all(|member| answer_count(&member.received) < 8), "{}", crowd.describe());
    println!(
        "{io}: {home:?} before, {highest_kib} KiB at most, {:?} after, {} honest requests",
        server.home(),
        honest.end()
    );
    server.end();
}
