//! Peers that send more than is good: requests without reading, heads and bodies without end, chunks of a byte.

use std::time::{Duration, Instant};

use crate::attack_support::crowd::{Crowd, Member};
use crate::attack_support::honest::Honest;
use crate::attack_support::server::Server;
use crate::attack_support::{PATIENCE, is_long};

/// 100,000 requests on one connection whose answers are read 10 seconds later (one second in the gate): memory grows
/// by at most 1 MiB meanwhile, then every answer comes, in order.
pub(crate) fn pipelining(io: &str) {
    const REQUEST_COUNT: usize = 100_000;
    let wait = Duration::from_secs(if is_long() { 10 } else { 1 });
    let server = Server::start(io, &[]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let requests: String = (0..REQUEST_COUNT).map(|n| format!("GET /echo/{n} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
    let requests = requests.as_bytes();
    let mut member = Member::connect(server.address);
    let (start, mut sent, mut highest_kib) = (Instant::now(), 0, home.resident_kib);
    while start.elapsed() < wait {
        let was_sent = sent;
        honest.latencies(1, || sent += member.send(&requests[sent..]));
        if sent > was_sent || start.elapsed().as_millis().is_multiple_of(8) {
            highest_kib = highest_kib.max(server.resident_kib());
        }
    }
    let sent_unread = sent;
    let (mut answers, start) = (Answers::default(), Instant::now());
    while answers.count < REQUEST_COUNT {
        sent += member.send(&requests[sent..]);
        member.read();
        answers.take(&mut member.received);
        assert!(member.end.is_none() && start.elapsed() < PATIENCE, "{} answers, {:?}", answers.count, member.end);
    }
    let growth_kib = highest_kib - home.resident_kib;
    println!("{io}: {sent_unread} bytes taken unread, {growth_kib} KiB more, {REQUEST_COUNT} answers in order");
    assert!(growth_kib <= 1024, "memory grew by {growth_kib} KiB");
    member.leave();
    server.wait_for_home(home);
    honest.end();
    server.end();
}

/// Answers of `echo:app`, which tell the numbers of their requests.
#[derive(Default)]
struct Answers {
    count: usize,
}

impl Answers {
    /// Takes every complete answer out of `received`.
    fn take(&mut self, received: &mut Vec<u8>) {
        let mut rest = received.as_slice();
        while let Some(start) = find(rest, b"\r\n\r\n") {
            // Mounted at /echo, it tells what it was sent: the head as it came, without its empty line.
            let body = format!("GET /echo/{} HTTP/1.1\r\nHost: h\r\n", self.count);
            let Some(answer) = rest.get(..start + 4 + body.len()) else { break };
            let is_next = answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(body.as_bytes());
            assert!(is_next, "answer {}: {}", self.count, String::from_utf8_lossy(answer));
            self.count += 1;
            rest = &rest[answer.len()..];
        }
        let taken = received.len() - rest.len();
        received.drain(..taken);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// 50 connections full of requests, and nobody reads. Each makes the server hold what came in the turn in which it was
/// stopped, at most the 64 blocks that are posted, and is gone after the write deadline.
pub(crate) fn pipelines(io: &str) {
    const COUNT: usize = 50;
    const HELD_KIB_MAX: i64 = 1024;
    let server = Server::start(io, &["--write-idle", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let mut crowd = Crowd::connect(server.address, COUNT);
    // The kernel takes some of it, both ways; that the rest stays is what makes the server wait.
    // (An answer is as long as its request; tiny ones would keep the server busy for long before anything is full.)
    let request = format!("GET /echo HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(4000));
    let requests = request.repeat(2500).into_bytes();
    let mut sent = vec![0; COUNT];
    let mut highest_kib = 0;
    server.wait_until("those who do not read are gone", || {
        for (member, sent) in crowd.members.iter_mut().zip(&mut sent) {
            *sent += member.send(&requests[*sent..]);
        }
        highest_kib = highest_kib.max(server.resident_kib());
        server.descriptor_count() == home.descriptor_count
    });
    let growth_kib = highest_kib - home.resident_kib;
    server.wait_for_home(home);
    println!("{io}: {growth_kib} KiB more for {COUNT} pipelines, {:?} after, {} honest", server.home(), honest.end());
    assert!(growth_kib <= HELD_KIB_MAX * COUNT as i64, "memory grew by {growth_kib} KiB");
    server.end();
}

/// Request lines, fields and numbers of fields past every limit are refused with their status, at once.
pub(crate) fn heads(io: &str) {
    let server = Server::start(io, &[]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let start = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
    let kinds = [
        (414, [b"GET /".to_vec(), vec![b'a'; 64 * 1024]].concat()),
        (431, [start.clone(), b"X: ".to_vec(), vec![b'a'; 64 * 1024]].concat()),
        (431, [start.clone(), b"X: y\r\n".repeat(10_000)].concat()),
        (431, [start, b"X: y\r\n".repeat(101), b"\r\n".to_vec()].concat()),
    ];
    let mut highest_kib = 0;
    let begin = Instant::now();
    for (status, head) in kinds {
        let mut crowd = Crowd::connect(server.address, 100);
        crowd.send(&head);
        highest_kib = highest_kib.max(server.resident_kib());
        crowd.read_to_end();
        assert_eq!(crowd.count(|member| member.status() == status), 100, "{status}: {}", crowd.describe());
    }
    let (elapsed, growth_kib) = (begin.elapsed(), highest_kib - home.resident_kib);
    assert!(elapsed < Duration::from_secs(5), "400 heads were refused in {elapsed:?}");
    server.wait_for_home(home);
    println!(
        "{io}: 400 refused in {elapsed:?}, {growth_kib} KiB more, {:?} after, {} honest",
        server.home(),
        honest.end()
    );
    server.end();
}

/// 1000 peers send all of a head but its end, and hold a block each until the deadline. Then the blocks are given back,
/// not only to the worker but to the system.
pub(crate) fn held_heads(io: &str) {
    const COUNT: usize = 1000;
    let server = Server::start(io, &["--head-timeout", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let head = [b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec(), vec![b'a'; 15 * 1024]].concat();
    let mut crowd = Crowd::connect(server.address, 0);
    for _ in 0..COUNT {
        // At once: on a busy machine the first ones would be silent for too long otherwise.
        let mut member = Member::connect(server.address);
        member.send(&head);
        crowd.members.push(member);
    }
    let mut highest_kib = 0;
    crowd.read_until("every offender is gone", |crowd| {
        highest_kib = highest_kib.max(server.resident_kib());
        crowd.is_over()
    });
    assert_eq!(crowd.count(|member| member.status() == 408), COUNT, "{}", crowd.describe());
    let growth_kib = highest_kib - home.resident_kib;
    assert!(growth_kib > 8 * COUNT as i64, "they held only {growth_kib} KiB");
    server.wait_for_home(home);
    println!(
        "{io}: {growth_kib} KiB held by {COUNT} heads, {:?} after, {} honest requests",
        server.home(),
        honest.end()
    );
    server.end();
}

/// A declared length costs nothing before its bytes come, and what has come is freed after the deadline.
pub(crate) fn bodies(io: &str) {
    const COUNT: usize = 500;
    let server = Server::start(io, &["--body-idle", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let head = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n";
    let mut declared = Crowd::connect(server.address, COUNT);
    declared.send(head);
    let mut highest_kib = 0;
    declared.read_until("every offender is gone", |crowd| {
        highest_kib = highest_kib.max(server.resident_kib());
        crowd.is_over()
    });
    assert_eq!(declared.count(|member| member.status() == 408), COUNT, "{}", declared.describe());
    let declared_kib = highest_kib - home.resident_kib;
    server.wait_for_home(home);
    // A block for the head, and no more than its own first page of the body.
    assert!(declared_kib <= 20 * COUNT as i64, "memory grew by {declared_kib} KiB for bodies that did not come");

    let mut begun = Crowd::connect(server.address, COUNT / 10);
    let bytes = [head.to_vec(), vec![b'x'; 900 * 1024]].concat();
    let mut sent = vec![0; COUNT / 10];
    highest_kib = 0;
    begun.read_until("every offender is gone", |crowd| {
        for (member, sent) in crowd.members.iter_mut().zip(&mut sent) {
            *sent += member.send(&bytes[*sent..]);
        }
        highest_kib = highest_kib.max(server.resident_kib());
        crowd.is_over()
    });
    assert_eq!(begun.count(|member| member.status() == 408), COUNT / 10, "{}", begun.describe());
    let begun_kib = highest_kib - home.resident_kib;
    server.wait_for_home(home);
    println!("{io}: {declared_kib} KiB for {COUNT} declared, {begun_kib} KiB for {} begun bodies", COUNT / 10);
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}

/// Bodies that are nearly all framing are refused before they cost anything.
pub(crate) fn chunks(io: &str) {
    const COUNT: usize = 100;
    let server = Server::start(io, &[]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let mut crowd = Crowd::connect(server.address, COUNT);
    crowd.send(b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunks = b"1\r\nx\r\n".repeat(1000);
    let cpu = server.cpu();
    let mut highest_kib = 0;
    crowd.read_until("every offender is gone", |crowd| {
        crowd.send(&chunks);
        highest_kib = highest_kib.max(server.resident_kib());
        crowd.is_over()
    });
    let (cpu, growth_kib) = (server.cpu() - cpu, highest_kib - home.resident_kib);
    // A peer that goes on sending after the refusal may be reset before it has read it.
    let refused_count = crowd.count(|member| matches!(member.status(), 400 | 0));
    assert_eq!(refused_count, COUNT, "{}", crowd.describe());
    assert!(growth_kib <= 64 * COUNT as i64, "memory grew by {growth_kib} KiB");
    server.wait_for_home(home);
    println!("{io}: {}; {cpu:?} of processor, {growth_kib} KiB more, {} honest", crowd.describe(), honest.end());
    server.end();
}
