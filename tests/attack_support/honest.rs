//! An honest client: one connection that it keeps, a request about each millisecond, every answer checked.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A client on a thread of its own.
pub(crate) struct Honest {
    latencies: Receiver<Duration>,
    has_ended: Arc<AtomicBool>,
    /// Held by whoever wants it to be silent.
    turn: Arc<Mutex<()>>,
    thread: JoinHandle<usize>,
}

impl Honest {
    /// Connects; the first answer has come when this returns.
    pub(crate) fn start(address: SocketAddr) -> Honest {
        let (sender, latencies) = channel();
        let has_ended = Arc::new(AtomicBool::new(false));
        let turn = Arc::new(Mutex::new(()));
        let thread = std::thread::spawn({
            let (has_ended, turn) = (has_ended.clone(), turn.clone());
            move || serve_itself(address, &sender, &has_ended, &turn)
        });
        let honest = Honest { latencies, has_ended, turn, thread };
        honest.latencies.recv_timeout(PATIENCE).expect("an honest client is answered");
        honest
    }

    /// The latencies of `count` requests from now on, while `act` is called again and again.
    pub(crate) fn latencies(&self, count: usize, mut act: impl FnMut()) -> Vec<Duration> {
        self.latencies.try_iter().for_each(drop);
        let start = Instant::now();
        let mut latencies = Vec::with_capacity(count);
        while latencies.len() < count {
            assert!(start.elapsed() < PATIENCE, "an honest client got {} answers", latencies.len());
            act();
            match self.latencies.recv_timeout(Duration::from_millis(1)) {
                Ok(latency) => latencies.push(latency),
                Err(_) => assert!(!self.thread.is_finished(), "an honest client was not served"),
            }
            latencies.extend(self.latencies.try_iter());
        }
        latencies
    }

    /// The median of `count` requests while nothing else happens.
    pub(crate) fn median(&self, count: usize) -> Duration {
        median(self.latencies(count, || {}))
    }

    /// Has the client be silent while `act` goes on, so that what the server does is not its doing.
    pub(crate) fn silent<T>(&self, act: impl FnOnce() -> T) -> T {
        let _silence = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        act()
    }

    /// Ends the client. Fails if one of its requests did. Answers how many there were.
    pub(crate) fn end(self) -> usize {
        self.has_ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("every honest request is answered")
    }
}

/// The one in the middle.
pub(crate) fn median(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies.get(latencies.len() / 2).copied().unwrap_or_default()
}

fn serve_itself(address: SocketAddr, sender: &Sender<Duration>, has_ended: &AtomicBool, turn: &Mutex<()>) -> usize {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).expect("options can be set");
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(1000).collect();
    let post = format!("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    let post = [post, body.clone()].concat();
    let mut count = 0;
    while !has_ended.load(Ordering::Relaxed) {
        {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let start = Instant::now();
            exchange(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"Hello, World!");
            // A test that has ended does not read on.
            let _ = sender.send(start.elapsed());
            count += 1;
            if count % 16 == 0 {
                exchange(&mut stream, &post, &body);
            }
        }
        // It is a client among others, not a load: it thinks between two requests.
        std::thread::sleep(Duration::from_micros(500));
    }
    count
}

fn exchange(stream: &mut TcpStream, request: &[u8], body: &[u8]) {
    stream.write_all(request).expect("an honest request is taken");
    let (mut answer, mut piece) = (Vec::new(), [0; 2048]);
    loop {
        let size = stream.read(&mut piece).expect("an honest request is answered");
        answer.extend_from_slice(&piece[..size]);
        if answer.ends_with(body) {
            let head = String::from_utf8_lossy(&answer[..answer.len() - body.len()]).into_owned();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            return;
        }
        assert!(size > 0, "an honest connection was closed after {:?}", String::from_utf8_lossy(&answer));
    }
}
