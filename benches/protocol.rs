//! The protocol without a driver: `Connection::advance` from received bytes to a written response.
//!
//! Each bench asserts its own output, so a fast wrong answer does not pass; `cargo test --benches` runs each
//! once.

use std::hint::black_box;
use std::mem::MaybeUninit;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::http::head::{FIELD_COUNT_MAX, Field, Head, HeadLimits, Scan};

#[path = "../tests/support/mod.rs"]
mod support;

use support::fixtures;
use support::memory::Memory;

const MINIMAL: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BROWSER: &[u8] = b"GET /articles/2026/ring?page=2 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://www.example.com/articles\r\nDNT: 1\r\nConnection: keep-alive\r\n\
    Cookie: session=6f1b2c9d8e7a4b5c; theme=dark; visited=articles%2C2026%2Cring; consent=all\r\n\
    Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\r\n";
const LENGTH: &[u8] = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\nHello, World!";
const CHUNKED: &[u8] =
    b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nd\r\nHello, World!\r\n0\r\n\r\n";

fn heads(criterion: &mut Criterion) {
    let limits = HeadLimits { request_line_max: 8192, head_max: 16_384, field_count_max: 100 };
    let mut group = criterion.benchmark_group("head");
    for (name, bytes, field_count) in [("minimal", MINIMAL, 1), ("browser", BROWSER, 12)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("{name}, ours"), |bencher| {
            bencher.iter(|| {
                let found = Scan::default().advance(black_box(bytes), &limits).ok().flatten().expect("it is complete");
                let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
                let head = Head::parse(&bytes[found.start..found.end], &mut slots).expect("it is right");
                assert_eq!(head.fields.len(), field_count);
            });
        });
        group.bench_function(format!("{name}, httparse alone"), |bencher| {
            bencher.iter(|| {
                let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
                let mut request = httparse::Request::new(&mut []);
                let status = request.parse_with_uninit_headers(black_box(bytes), &mut slots).expect("it is right");
                assert!(status.is_complete() && request.headers.len() == field_count);
            });
        });
    }
    group.finish();
}

fn advance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("advance");
    let cases: [(&str, &str, Vec<u8>, usize); 5] = [
        ("minimal", "hello:app", MINIMAL.to_vec(), 1),
        ("browser", "hello:app", BROWSER.to_vec(), 1),
        ("content-length", "echo:app", LENGTH.to_vec(), 1),
        ("chunked", "echo:app", CHUNKED.to_vec(), 1),
        ("pipelined by 16", "hello:app", MINIMAL.repeat(16), 16),
    ];
    for (name, app, bytes, count) in cases {
        let mut memory = Memory::new(fixtures::make(app).expect("it is bundled"));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                memory.sent.clear();
                memory.heard.completed.clear();
                memory.receive(black_box(&bytes));
                assert!(memory.sent.ends_with(b"\r\n\r\nHello, World!"));
                assert_eq!(memory.heard.completed.len(), count);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heads, advance);
criterion_main!(benches);
