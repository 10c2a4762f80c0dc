//! The protocol without a driver: its parts, and `Connection::advance` from received bytes to a written response.
//!
//! Each bench asserts its own output, so a fast wrong answer does not pass; `cargo test --benches` runs each
//! once. Throughput is in requests (heads, lookups, responses) and in bytes.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::SystemTime;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::Status;
use ringway::buffer::Pool;
use ringway::environ::{Environ, Input, Request, Scratch, Sender};
use ringway::http::head::{FIELD_COUNT_MAX, Field, Head, HeadLimits, Scan, Version};
use ringway::outbound::Outbound;
use ringway::response::answer::Mailbox;
use ringway::response::writer::Direct;
use ringway::response::{Draft, Stamp, StartResponse, Terms};
use ringway::sys::Waker;

mod rig;

use rig::{ANSWER_END, BROWSER, CASES, KEY, MINIMAL, Rig};

fn both(elements: usize, bytes: usize) -> Throughput {
    Throughput::ElementsAndBytes { elements: elements as u64, bytes: bytes as u64 }
}

fn head(criterion: &mut Criterion) {
    let limits = HeadLimits { request_line_max: 8192, head_max: 16_384, field_count_max: 100 };
    let mut group = criterion.benchmark_group("head");
    for (name, bytes, field_count) in [("minimal", MINIMAL, 1), ("browser", BROWSER, 12)] {
        group.throughput(both(1, bytes.len()));
        group.bench_function(format!("{name}, at once"), |bencher| {
            bencher.iter(|| {
                let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
                let head = Head::parse_front(black_box(bytes), &mut slots, &limits).expect("it is whole and right");
                assert_eq!(head.fields.len(), field_count);
            });
        });
        group.bench_function(format!("{name}, in pieces"), |bencher| {
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

/// Values of a browser's request, as an application asks for them.
fn environ(criterion: &mut Criterion) {
    let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
    let head = Head::parse(BROWSER, &mut slots).expect("it is right");
    let (sender, origin, scratch) = (Sender::default(), rig::origin(), Scratch::default());
    let (head, sender, origin, scratch) = (&head, &sender, &origin, &scratch);
    let request = Request { head, input: Input::new(b""), content_length: b"", sender, origin, scratch };
    let environ = Environ::new(&request);
    let mut group = criterion.benchmark_group("environ");
    group.throughput(Throughput::Elements(1));
    let keys: [(&str, &str, Option<&[u8]>); 4] = [
        ("variable", "REQUEST_METHOD", Some(b"GET")),
        ("first field", "HTTP_HOST", Some(b"www.example.com")),
        ("last field", "HTTP_SEC_FETCH_MODE", Some(b"navigate")),
        ("absent field", "HTTP_IF_NONE_MATCH", None),
    ];
    for (name, key, value) in keys {
        group.bench_function(name, |bencher| {
            bencher.iter(|| assert_eq!(black_box(&environ).get(black_box(key)), value));
        });
    }
    group.bench_function("path_info", |bencher| {
        bencher.iter(|| assert_eq!(black_box(&environ).path_info(), b"/articles/2026/ring"));
    });
    group.finish();
}

/// Status, the application's fields, the server's own and a body, behind one another, without a request.
fn response(criterion: &mut Criterion) {
    let mailbox = Arc::new(Mailbox::new(Waker::new().expect("an eventfd")));
    let stamp = Stamp::new(SystemTime::UNIX_EPOCH);
    let terms = Terms {
        version: Version::Http11,
        is_head: false,
        keep_alive: true,
        stamp: &stamp,
        mailbox: &mailbox,
        key: KEY,
        request_id: b"",
        direct: Direct::Nowhere,
    };
    let few: &[(&str, &str)] = &[("Content-Type", "text/plain")];
    let many: &[(&str, &str)] = &[
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "public, max-age=3600"),
        ("ETag", "\"6f1b2c9d8e7a4b5c\""),
        ("Vary", "Accept-Encoding"),
        ("Set-Cookie", "session=6f1b2c9d8e7a4b5c; Path=/; HttpOnly; SameSite=Lax"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "default-src 'self'; img-src 'self' data:"),
        ("Referrer-Policy", "same-origin"),
    ];
    let mut pool = Pool::new(1, 1);
    let (mut outbound, mut draft) = (Outbound::new(), Draft::default());
    outbound.prepare(&mut pool);
    let mut group = criterion.benchmark_group("response");
    for (name, fields) in [("one field", few), ("eight fields", many)] {
        let mut write = || {
            let headers = StartResponse::new(&mut outbound, black_box(&terms), &mut draft).start(Status::OK);
            let responded = headers.headers(black_box(fields).iter().copied()).body(black_box("Hello, World!"));
            assert_eq!(responded.status(), Some(Status::OK));
            let size = outbound.size();
            assert!(outbound.range(size - ANSWER_END.len(), size) == (ANSWER_END, &[]));
            outbound.truncate(0);
            size
        };
        let size = write();
        let fields_size = fields.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>();
        let rest = b"HTTP/1.1 200 OK\r\nServer: ringway\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 13";
        assert_eq!(size, fields_size + rest.len() + ANSWER_END.len());
        group.throughput(both(1, size));
        group.bench_function(name, |bencher| bencher.iter(|| assert_eq!(write(), size)));
    }
    group.finish();
    outbound.discard(&mut pool);
}

/// All of the server's own work for a request, the application included; bytes are those that come and those that go.
fn advance(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("advance");
    for case in CASES {
        let mut rig = Rig::new(case);
        group.throughput(both(case.count, rig.received_size() + rig.answer_size));
        group.bench_function(case.name, |bencher| bencher.iter(|| black_box(&mut rig).serve()));
    }
    group.finish();
}

criterion_group!(benches, head, environ, response, advance);
criterion_main!(benches);
