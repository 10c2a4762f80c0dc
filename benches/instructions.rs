//! The work of one request, to be counted and not timed: `scripts/instructions` runs this under callgrind with
//! two numbers of requests and divides the difference, so that start and end cancel out.
//!
//! Without arguments each case runs a few times and asserts its output, as `cargo test --benches` does.

use std::hint::black_box;

#[path = "../tests/support/mod.rs"]
mod support;

use support::fixtures;
use support::memory::Memory;

const CASES: &[(&str, &str, &[u8])] = &[
    ("minimal", "hello:app", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (
        "browser",
        "hello:app",
        b"GET /articles/2026/ring?page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
        User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
        Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Referer: https://www.example.com/articles\r\nDNT: 1\r\nConnection: keep-alive\r\n\
        Cookie: session=6f1b2c9d8e7a4b5c; theme=dark; visited=articles%2C2026%2Cring; consent=all\r\n\
        Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\r\n",
    ),
    ("content-length", "echo:app", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\nHello, World!"),
    (
        "chunked",
        "echo:app",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n\r\n",
    ),
];

fn run(app: &str, bytes: &[u8], count: usize) {
    let mut memory = Memory::new(fixtures::make(app).expect("it is bundled"));
    for _ in 0..count {
        memory.sent.clear();
        memory.heard.completed.clear();
        memory.receive(black_box(bytes));
        assert!(memory.sent.ends_with(b"\r\n\r\nHello, World!") && memory.heard.completed.len() == 1);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.as_slice() {
        [name, count] => {
            let (_, app, bytes) = CASES.iter().find(|(case, ..)| case == name).expect("one of the cases");
            run(app, bytes, count.parse().expect("a number of requests"));
        }
        [] => CASES.iter().for_each(|(_, app, bytes)| run(app, bytes, 10)),
        _ => panic!("usage: instructions [CASE COUNT]"),
    }
}
