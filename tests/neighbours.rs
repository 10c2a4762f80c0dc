//! Applications in Python beside those that await, on the same worker.
#![cfg(all(feature = "async", feature = "wsgi"))]

pub mod async_support;

use std::sync::mpsc::channel;

use http::{Request, StatusCode};
use ringway::tower::{Body, serve};
use ringway::wsgi::{Concurrency, interpreter, load};
use ringway::{Application, Mounts};

use async_support::namesakes::{Function, text};
use async_support::sockets::{self, PATIENCE, connect, read_until, send};

/// The worker waits in a runtime, where nobody lets go of the interpreter's lock for it.
#[test]
fn a_worker_that_waits_for_both_leaves_the_interpreter_to_others() {
    interpreter::start().expect("Python starts");
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wsgi");
    interpreter::extend_path(&[directory.into()]).expect("its path can be extended");
    let callable = load("local_app:app").expect("it can be imported");
    let make = move || {
        let other = serve(Function(async |_: Request<Body>| text(StatusCode::OK, "awaited")));
        let python = callable.application(Concurrency::default());
        Box::new(Mounts::new().mount("/python", "python", python).mount("/", "other", other)) as Box<dyn Application>
    };
    let change = |config: &mut ringway::config::Config| config.worker_count = 2;
    sockets::serve("a_worker_that_waits_for_both", make, change, |running, _| {
        // Each worker has some of them.
        let mut streams: Vec<_> = (0..16).map(|_| connect(running)).collect();
        for stream in &mut streams {
            let mut counts = [0, 0].map(|_| {
                send(stream, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
                read_until(stream, "awaited");
                send(stream, "GET /python HTTP/1.1\r\nHost: h\r\n\r\n");
                read_until(stream, "\r\n\r\n");
                read_until(stream, ".").trim_end_matches('.').parse::<u32>().expect("a number")
            });
            counts[0] += 1;
            assert_eq!(counts[0], counts[1], "its thread is the same to Python");
        }
        let (sender, receiver) = channel();
        std::thread::spawn(move || sender.send(load("wire_apps:echo").is_ok()));
        assert_eq!(receiver.recv_timeout(PATIENCE), Ok(true), "another thread has its turn");
    });
}
