//! A round trip through each driver: a whole worker in a thread of its own, and a client on one kept connection that
//! writes a request and reads its answer.
//!
//! Most of it is the kernel's work and two switches between threads, so this shows what a driver costs a lone
//! connection and no more; `scripts/bench` is the figure of record. Where io_uring is refused, its half is skipped by
//! name. `cargo test --benches` makes each trip once.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway::config::{Address, Config, Io};
use ringway::server::{Running, Server};

mod rig;

use rig::{ANSWER_END, CASES, Case};

/// A client that knows how long an answer is.
struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    /// Calls the server and takes the answer to a request for what all others will be.
    fn call(running: &Running, case: &Case) -> Client {
        let stream = TcpStream::connect(running.addresses()[0]).expect("it listens");
        stream.set_nodelay(true).expect("it is a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        let mut client = Client { stream, answer: Vec::new() };
        client.stream.write_all(case.request).expect("it reads");
        while !client.answer.ends_with(ANSWER_END) {
            let mut bytes = [0; 1024];
            let size = client.stream.read(&mut bytes).expect("it answers");
            assert!(size > 0, "it keeps the connection");
            client.answer.extend_from_slice(&bytes[..size]);
        }
        assert!(client.answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        client
    }

    fn trip(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("it reads");
        self.answer.fill(0);
        self.stream.read_exact(&mut self.answer).expect("it answers");
        assert!(self.answer.ends_with(ANSWER_END));
    }
}

fn start(io: Io, case: &Case) -> std::io::Result<Running> {
    let binds = vec![Address::Inet("127.0.0.1".into(), 0)];
    Server::new(Config { binds, worker_count: 1, io, ..Config::default() }, case.make).start()
}

fn loopback(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("loopback");
    for (driver, io) in [("uring", Io::Uring), ("epoll", Io::Epoll)] {
        for case in CASES.iter().filter(|case| case.count == 1) {
            let running = match start(io, case) {
                Ok(running) => running,
                Err(refusal) if io == Io::Uring => {
                    eprintln!("skipped: loopback through {driver}: {refusal}");
                    break;
                }
                Err(error) => panic!("a server on {driver}: {error}"),
            };
            let mut client = Client::call(&running, case);
            let bytes = (case.request.len() + client.answer.len()) as u64;
            group.throughput(Throughput::ElementsAndBytes { elements: 1, bytes });
            group.bench_function(format!("{driver}, {}", case.name), |bencher| {
                bencher.iter(|| client.trip(case.request));
            });
            drop(client);
            running.stop();
            running.join().expect("it ends in order");
        }
    }
    group.finish();
}

/// How long an answer may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(10);

criterion_group!(benches, loopback);
criterion_main!(benches);
