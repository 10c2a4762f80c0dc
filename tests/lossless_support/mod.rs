//! The load: clients in threads, each of which counts what it has completely sent and what was answered.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the clients have seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Requests whose last byte the kernel has taken.
    pub(crate) sent: usize,
    /// Of these, how many got a whole answer.
    pub(crate) answered: usize,
    /// Answers that ended too early.
    pub(crate) torn: usize,
    /// Calls that were refused.
    pub(crate) refused: usize,
}

/// Clients at work.
pub(crate) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Sums>>,
}

struct Shared {
    port: u16,
    is_over: AtomicBool,
    answered_count: AtomicUsize,
    gate: Mutex<Gate>,
    change: Condvar,
}

/// What one of them does until it is over.
type Client = fn(&Shared) -> Sums;

/// Where transfers wait in their middle.
#[derive(Default)]
struct Gate {
    is_held: bool,
    waiting_count: usize,
}

/// How an exchange ended.
enum End {
    Answered {
        is_last: bool,
    },
    /// Nothing, or not all, of a request was sent.
    Unsent,
    /// It was sent, and nothing came.
    Unanswered,
    Torn,
}

impl Load {
    const KEEPING: usize = 64;
    const CALLING: usize = 16;
    const UPLOADS: usize = 8;
    const DOWNLOADS: usize = 8;
    pub(crate) const CONNECTION_COUNT: usize = Load::KEEPING + Load::CALLING + Load::UPLOADS + Load::DOWNLOADS;

    /// Starts all clients; each has had an answer when this returns.
    pub(crate) fn start(port: u16) -> Load {
        let shared = Arc::new(Shared {
            port,
            is_over: AtomicBool::new(false),
            answered_count: AtomicUsize::new(0),
            gate: Mutex::default(),
            change: Condvar::new(),
        });
        let kinds: [(usize, Client); 4] = [
            (Load::KEEPING, |shared| shared.ask(true)),
            (Load::CALLING, |shared| shared.ask(false)),
            (Load::UPLOADS, |shared| shared.transfer(true)),
            (Load::DOWNLOADS, |shared| shared.transfer(false)),
        ];
        let mut threads = Vec::new();
        for (count, client) in kinds {
            for _ in 0..count {
                let shared = shared.clone();
                threads.push(std::thread::spawn(move || client(&shared)));
            }
        }
        let load = Load { shared, threads };
        load.wait_for(4 * Load::CONNECTION_COUNT);
        load
    }

    /// Waits for so many answers more.
    fn wait_for(&self, count: usize) {
        let wanted = self.shared.answered_count.load(Ordering::Relaxed) + count;
        let until = Instant::now() + PATIENCE;
        while self.shared.answered_count.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < until, "the clients are not answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Does something while every transfer is in its middle.
    pub(crate) fn amid_transfers<T>(&self, act: impl FnOnce() -> T) -> T {
        self.hold_transfers();
        let result = act();
        self.shared.lock().is_held = false;
        self.shared.change.notify_all();
        result
    }

    /// Has every transfer wait in its middle, and waits until all do.
    fn hold_transfers(&self) {
        let mut gate = self.shared.lock();
        gate.is_held = true;
        let all = Load::UPLOADS + Load::DOWNLOADS;
        let waiting = self.shared.change.wait_timeout_while(gate, PATIENCE, |gate| gate.waiting_count < all);
        gate = waiting.unwrap_or_else(PoisonError::into_inner).0;
        assert_eq!(gate.waiting_count, all, "every transfer is in its middle");
    }

    /// Goes on for a while, then has the clients stop.
    pub(crate) fn end(self) -> Sums {
        self.wait_for(4 * Load::CONNECTION_COUNT);
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.sum()
    }

    /// Waits until the clients have stopped, because nobody listens any more.
    pub(crate) fn end_when_refused(self) -> Sums {
        self.sum()
    }

    fn sum(self) -> Sums {
        let mut sums = Sums::default();
        for thread in self.threads {
            let Sums { sent, answered, torn, refused } = thread.join().expect("a client does not fail");
            sums.sent += sent;
            sums.answered += answered;
            sums.torn += torn;
            sums.refused += refused;
        }
        sums
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a transfer is in its middle.
    fn pass(&self) {
        let mut gate = self.lock();
        if gate.is_held {
            gate.waiting_count += 1;
            self.change.notify_all();
            let waiting = self.change.wait_timeout_while(gate, PATIENCE, |gate| gate.is_held);
            gate = waiting.unwrap_or_else(PoisonError::into_inner).0;
            gate.waiting_count -= 1;
        }
    }

    /// Asks again and again, on one connection where the server lets it, or on another each time.
    fn ask(&self, is_kept: bool) -> Sums {
        let connection = if is_kept { "" } else { "Connection: close\r\n" };
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{connection}\r\n");
        self.repeat(is_kept, |stream| {
            if stream.write_all(request.as_bytes()).is_err() {
                return End::Unsent;
            }
            receive(stream, None, || ())
        })
    }

    /// Uploads, and downloads what comes back: held in the middle of the one or the other.
    fn transfer(&self, is_upload: bool) -> Sums {
        let body: Vec<u8> = (b'a'..=b'z').cycle().take(TRANSFER_SIZE).collect();
        let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        self.repeat(true, |stream| {
            let (first, second) = body.split_at(body.len() / 2);
            if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(first)).is_err() {
                return End::Unsent;
            }
            if is_upload {
                self.pass();
            }
            if stream.write_all(second).is_err() {
                return End::Unsent;
            }
            receive(stream, Some(&body), || {
                if !is_upload {
                    self.pass()
                }
            })
        })
    }

    fn repeat(&self, is_kept: bool, mut exchange: impl FnMut(&mut TcpStream) -> End) -> Sums {
        let mut sums = Sums::default();
        let mut connection = None;
        while !self.is_over.load(Ordering::Relaxed) {
            let stream = match &mut connection {
                Some(stream) => stream,
                None => match connect(self.port) {
                    Some(stream) => connection.insert(stream),
                    None => {
                        sums.refused += 1;
                        return sums;
                    }
                },
            };
            let end = exchange(stream);
            sums.sent += usize::from(!matches!(end, End::Unsent));
            match end {
                End::Answered { is_last } => {
                    sums.answered += 1;
                    self.answered_count.fetch_add(1, Ordering::Relaxed);
                    if is_last || !is_kept {
                        connection = None;
                    }
                }
                End::Torn => {
                    sums.torn += 1;
                    connection = None;
                }
                End::Unsent | End::Unanswered => connection = None,
            }
        }
        sums
    }
}

/// A connection; `None` where nobody listens any more.
fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE))).ok()?;
    Some(stream)
}

/// Receives an answer, with this body if one is wanted; `midway` is called in its middle.
fn receive(stream: &mut TcpStream, body: Option<&[u8]>, midway: impl FnOnce()) -> End {
    let (mut received, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    let (mut midway, mut whole_size) = (Some(midway), None);
    loop {
        let size = match stream.read(&mut piece) {
            Ok(size) => size,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        if size == 0 {
            return if received.is_empty() { End::Unanswered } else { End::Torn };
        }
        received.extend_from_slice(&piece[..size]);
        if whole_size.is_none()
            && let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&received[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let is_last = head.lines().any(|line| line == "connection: close");
            whole_size = Some((end + 4, end + 4 + length.expect("the answers have a length"), is_last));
        }
        let Some((start, end, is_last)) = whole_size else { continue };
        if received.len() > start
            && let Some(midway) = midway.take()
        {
            midway();
        }
        if received.len() >= end {
            assert!(body.is_none_or(|body| received[start..] == *body), "the body comes back");
            return End::Answered { is_last };
        }
    }
}

/// Larger than what sockets hold.
const TRANSFER_SIZE: usize = 8_000_000;
const PATIENCE: Duration = Duration::from_secs(30);
