//! What the tests of the frameworks share: servers of both kinds, and a client that sees every byte.
#![allow(dead_code, reason = "each test program that includes this module uses its own part of it")]

pub mod client;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use ringway::Application;
use ringway::config::{Config, Io, Pin};
use ringway::driver::uring;
use ringway::server::{Running, Server};
use tokio::sync::oneshot;

/// How long something that must happen may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A framework's own server on a thread of its own. Dropping it ends it.
pub struct Own {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Own {
    /// Starts one. A future of it is made and run on its thread.
    pub fn start<F>(serve: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static) -> Own
    where
        F: Future<Output = io::Result<()>>,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket has this option");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
                tokio::select! {
                    result = serve(listener) => panic!("it ended by itself: {result:?}"),
                    _ = stopped => {}
                }
            });
        });
        Own { address, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Who has ended already has no use for it, and has said why.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Plays a scene with this server on each driver that there is.
pub fn on_ringway(
    name: &str,
    make: impl Fn() -> Box<dyn Application> + Clone + Send + Sync + 'static,
    scene: impl Fn(SocketAddr, Io),
) {
    for io in [Io::Epoll, Io::Uring] {
        if let (Io::Uring, Err(refusal)) = (io, uring::probe()) {
            eprintln!("skipped: {name} on io_uring: {refusal}");
            continue;
        }
        let running = start(io, make.clone());
        scene(running.addresses()[0], io);
        running.stop();
        running.join().expect("it ends in order");
    }
}

fn start(io: Io, make: impl Fn() -> Box<dyn Application> + Send + Sync + 'static) -> Running {
    let mut config = Config {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        worker_count: 1,
        pin: Pin::Off,
        io,
        ..Config::default()
    };
    // As the frameworks' own servers have it.
    config.limits.body.body_max = u64::MAX;
    Server::new(config, make).start().expect("it starts")
}
