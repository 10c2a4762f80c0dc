//! A soak: mixed load with random aborts, and nothing grows. Some seconds in the gate; with RINGWAY_LONG=1 twenty
//! minutes, native and Flask beside each other.

#[allow(dead_code, reason = "this file needs a part of it")]
mod cli_support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cli_support::{Ringway, children, get_from, ringway, skip};
use socket2::SockRef;

/// What a server and its children hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    resident_kib: u64,
    descriptor_count: usize,
    /// Of Python; 0 for another.
    object_count: usize,
}

fn duration() -> Duration {
    let is_long = std::env::var("RINGWAY_LONG").is_ok_and(|value| value == "1");
    Duration::from_secs(if is_long { 20 * 60 } else { 6 })
}

fn held(server: &Ringway, has_objects: bool) -> Held {
    let mut held = Held { resident_kib: 0, descriptor_count: 0, object_count: 0 };
    for id in children(server.id()).into_iter().chain([server.id()]) {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap_or("0 kB");
        held.resident_kib += line.trim_end_matches("kB").trim().parse::<u64>().expect("a number");
        held.descriptor_count += fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count);
    }
    if has_objects {
        let answer = get_from(server.port(), "/objects");
        held.object_count = answer.rsplit("\r\n").next().and_then(|text| text.parse().ok()).expect("a number");
    }
    held
}

/// Waits until no connection is left, and says what is held then.
fn held_at_rest(server: &Ringway, has_objects: bool, descriptor_count: usize) -> Held {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let held = held(server, has_objects);
        if held.descriptor_count <= descriptor_count || Instant::now() > end {
            return held;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A small generator of chances; the same seed is the same client.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// One client: requests of all kinds, some of which it gives up in their middle.
fn load(port: u16, seed: u64, is_over: &AtomicBool, answered_count: &AtomicUsize) {
    let mut chance = Chance(seed);
    let mut connection = None;
    while !is_over.load(Ordering::Relaxed) {
        let mut stream: TcpStream = match connection.take() {
            Some(stream) => stream,
            None => TcpStream::connect(("127.0.0.1", port)).expect("it listens"),
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        let request = match chance.below(10) {
            0..5 => b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            5 => b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            6 => b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            7 => b"NOT HTTP\r\n\r\n".to_vec(),
            _ => {
                let size = usize::try_from(1 + chance.below(300_000)).expect("it is small");
                let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
                [head.into_bytes(), vec![b'x'; size]].concat()
            }
        };
        let is_aborted = chance.below(8) == 0;
        let sent = if is_aborted {
            &request[..usize::try_from(chance.below(request.len() as u64)).unwrap_or(0)]
        } else {
            &request
        };
        if stream.write_all(sent).is_err() {
            continue;
        }
        if is_aborted || chance.below(20) == 0 {
            // With a reset or in order; before the answer, or behind a part of it.
            if !is_aborted && chance.below(2) == 0 {
                // What it says is of no interest, nor whether it does.
                let _ = stream.read(&mut [0; 100]);
            }
            if chance.below(2) == 0 {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a TCP socket has this option");
            }
            continue;
        }
        if receive(&mut stream) {
            connection = Some(stream).filter(|_| chance.below(10) > 0);
        }
        answered_count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Receives an answer. Answers whether the connection stays.
fn receive(stream: &mut TcpStream) -> bool {
    let (mut received, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let size = stream.read(&mut piece).unwrap_or(0);
        if size == 0 {
            return false;
        }
        received.extend_from_slice(&piece[..size]);
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let is_whole = match length {
            Some(length) => received.len() >= end + 4 + length,
            None => received.ends_with(b"0\r\n\r\n"),
        };
        if is_whole {
            return !head.contains("connection: close");
        }
    }
}

fn soak(name: &str, flags: &[&str], has_objects: bool) {
    let server = Ringway::spawn(&mut ringway(&[&["--bind", "127.0.0.1:0", "--workers", "1"], flags].concat()));
    let home = held(&server, has_objects);
    let (is_over, answered_count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for client in 0..16 {
            let (port, is_over, answered_count) = (server.port(), &is_over, &answered_count);
            scope.spawn(move || load(port, 7 + client, is_over, answered_count));
        }
        let (start, whole) = (Instant::now(), duration());
        let every = whole / SAMPLE_COUNT;
        while start.elapsed() < whole {
            std::thread::sleep(every);
            samples.push(held(&server, has_objects));
            println!(
                "{name}: {:.0?}, {} answers, {:?}",
                start.elapsed(),
                answered_count.load(Ordering::Relaxed),
                samples.last()
            );
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let rest = held_at_rest(&server, has_objects, home.descriptor_count);
    println!("{name}: {home:?} before, {rest:?} behind {} answers", answered_count.load(Ordering::Relaxed));
    assert!(answered_count.load(Ordering::Relaxed) > 1000, "there was load");
    assert_eq!(rest.descriptor_count, home.descriptor_count, "descriptors come home");
    // What the first quarter has made is what is needed; from there on nothing grows.
    let (early, late) = samples.split_at(samples.len() / 4);
    let most = |samples: &[Held], what: fn(&Held) -> u64| samples.iter().map(what).max().unwrap_or(0);
    let resident_kib = |held: &Held| held.resident_kib;
    let last = &late[late.len() * 2 / 3..];
    let growth = most(last, resident_kib)
        .saturating_sub(most(early, resident_kib).max(most(&late[..late.len() / 3], resident_kib)));
    println!("{name}: growth of {growth} KiB from the first half to the last quarter");
    assert!(growth < 4096, "memory grows by {growth} KiB");
    if has_objects {
        let objects = |held: &Held| held.object_count as u64;
        let growth = rest.object_count.saturating_sub(usize::try_from(most(early, objects)).unwrap_or(0));
        assert!(growth < 200, "{growth} more objects at the end than in the first quarter");
    }
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn native_applications_grow_by_nothing() {
    soak("native", &["--mount", "/=hello:app", "--mount", "/echo=echo:app"], false);
}

#[test]
fn flask_grows_by_nothing() {
    let directory = std::env::var("VIRTUAL_ENV").unwrap_or_default();
    let has_flask = std::path::Path::new(&directory).join("lib").exists() && cfg!(feature = "wsgi");
    if !has_flask {
        return skip("a soak of Flask", "no virtual environment is active, or the build has no Python");
    }
    soak("flask", &["soak_app:app", "--pythonpath", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wsgi")], true);
}

/// How often it is looked at what is held.
const SAMPLE_COUNT: u32 = 24;
