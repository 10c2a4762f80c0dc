//! A server: listeners, worker threads, and the way they end.
//!
//! ```no_run
//! use ringway::config::Config;
//! use ringway::server::Server;
//!
//! let config = Config { binds: vec!["127.0.0.1:0".parse().unwrap()], ..Config::default() };
//! let running = Server::new(config, || Box::new(ringway::apps::echo::app)).start()?;
//! println!("{:?}", running.addresses());
//! running.drain();
//! let outcome = running.join()?;
//! assert_eq!(outcome.cut_count, 0);
//! # std::io::Result::Ok(())
//! ```
//!
//! This module prints nothing and handles no signals: what is to be said is in the results, and the command
//! line says it.

mod bind;
#[cfg(feature = "cli")]
pub(crate) mod listeners;
#[cfg_attr(not(feature = "async"), path = "server/no_runtime.rs")]
mod runtime;
mod thread;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;

use crate::app::Application;
use crate::config::{AccessLog, Address, Config, Io, Pin};
use crate::connection::quiet_panics;
use crate::driver::{Refusal, uring};
use crate::log_writer::{Destination, LogWriter};
use crate::spool;
use crate::stats::{Board, Counts, Row};
use crate::sys::process::{self, Resource};
use crate::sys::{Reserve, Waker};
use crate::worker::{Control, Outcome, RequestLog, Settings};

use bind::{Bound, SocketFile};
use thread::{Assignment, AtEnd};

/// Makes an instance of the application; called once in each worker, on its thread.
pub type Factory = Arc<dyn Fn() -> Box<dyn Application> + Send + Sync>;

/// A server that has not started.
pub struct Server {
    config: Config,
    factory: Factory,
    on_end: Option<fn()>,
    /// Listeners by worker, instead of what the configuration would bind.
    shares: Option<Shares>,
    /// The row of each worker, where somebody else watches them.
    rows: Option<Vec<Row>>,
}

/// A server whose workers serve. Dropping it cuts all connections and ends it.
pub struct Running {
    threads: Vec<JoinHandle<io::Result<Outcome>>>,
    controls: Vec<Arc<Control>>,
    rows: Vec<Row>,
    connection_count_max: usize,
    /// Workers that have ended, counted by themselves.
    ended_count: Arc<AtomicUsize>,
    places: Vec<String>,
    addresses: Vec<SocketAddr>,
    io: Io,
    refusal: Option<Refusal>,
    /// Kept for their drop, which removes them.
    files: Vec<SocketFile>,
    /// Kept for its drop, which writes what workers have left.
    log: Option<LogWriter>,
}

/// Sockets that listen already.
pub(crate) struct Shares {
    /// Those of each worker, in the order of its addresses.
    pub(crate) sockets: Vec<Vec<OwnedFd>>,
    /// Which addresses nobody else holds.
    pub(crate) own: Vec<bool>,
}

/// The error of a worker whose thread panicked; [`io::Error::get_ref`] finds it.
#[derive(Debug)]
pub struct Panicked {
    /// The thread's name.
    pub worker: String,
}

impl Server {
    /// A server of what `factory` makes.
    pub fn new(config: Config, factory: impl Fn() -> Box<dyn Application> + Send + Sync + 'static) -> Server {
        Server { config, factory: Arc::new(factory), on_end: None, shares: None, rows: None }
    }

    /// Has `on_end` called on each worker's thread when it ends, in whatever way.
    #[must_use]
    pub fn on_end(mut self, on_end: fn()) -> Server {
        self.on_end = Some(on_end);
        self
    }

    /// Serves from sockets that listen already, those of each worker in the order of its addresses.
    #[must_use]
    #[cfg(feature = "cli")]
    pub(crate) fn on(mut self, shares: Shares) -> Server {
        self.shares = Some(shares);
        self
    }

    /// Has each worker count in a row of its own on somebody's board. Without it they have a board of their own.
    #[must_use]
    pub fn counting(mut self, rows: Vec<Row>) -> Server {
        self.rows = Some(rows);
        self
    }

    /// Binds the addresses, starts the workers and waits until each has its driver and its application.
    ///
    /// # Errors
    /// One line with what failed, its cause and, where there is one, the remedy. Nothing is left running.
    pub fn start(self) -> io::Result<Running> {
        let Server { config, factory, on_end, shares: given, rows: given_rows } = self;
        quiet_panics();
        process::ignore_failed_writes();
        // The soft limit serves if the raise is forbidden.
        let raised = process::raise_limit(Resource::Descriptors).or_else(|_| process::limit(Resource::Descriptors))?;
        let connection_count_max = config.connections(raised.soft);
        try_spool(&config)?;
        let worker_count = config.worker_count.max(1);
        let (io, refusal) = choose_io(config.io)?;
        let destination = config.access_log.as_ref().map(open_log).transpose()?;
        let mut bounds = bounds(given, &config.binds, worker_count)?;
        for socket in bounds.iter().flat_map(|bound| &bound.sockets) {
            // A ring waits in the kernel; there a non-blocking listener would answer EAGAIN.
            SockRef::from(socket).set_nonblocking(io == Io::Epoll)?;
        }
        let mut processors = processors(config.pin, worker_count).into_iter();
        let mut running = Running::new(&bounds, io, refusal, connection_count_max);
        let mut shares = shares(&mut bounds, worker_count).into_iter();
        running.files = bounds.iter_mut().filter_map(|bound| bound.file.take()).collect();
        running.rows = rows(given_rows, worker_count)?;
        let mut logs = running.start_log(destination, &config)?.into_iter();
        let (ready, readiness) = mpsc::channel();
        for index in 0..worker_count {
            let control = Arc::new(Control::new(Waker::new()?));
            let row = running.rows[index].clone();
            let assignment = Assignment {
                index,
                io,
                processor: processors.next(),
                listeners: shares.next().unwrap_or_default(),
                block_count_max: config.block_count_max,
                settings: Settings {
                    limits: config.limits.clone(),
                    listeners: bounds.iter().map(|bound| bound.origin.clone()).collect(),
                    own_listeners: bounds.iter().map(|bound| bound.is_own).collect(),
                    access_log: logs.next(),
                    shows_request_ids: config.request_id,
                    connection_count_max: (connection_count_max / worker_count).max(1),
                    spool_dir: config.spool_dir.clone(),
                    stats: row.clone(),
                    reserve: Reserve::new(),
                    graceful_timeout: config.graceful_timeout,
                },
                control: control.clone(),
                factory: factory.clone(),
                at_end: AtEnd { row, ended_count: running.ended_count.clone(), on_end },
            };
            running.controls.push(control);
            running.threads.push(thread::spawn(assignment, ready.clone())?);
        }
        drop(ready);
        // Each worker speaks once, or hangs up by panicking.
        let ready_count = readiness.into_iter().collect::<io::Result<Vec<()>>>()?.len();
        if ready_count < worker_count {
            running.stop();
            running.join()?;
            return Err(io::Error::other("a worker ended before it served"));
        }
        Ok(running)
    }
}

impl Running {
    fn new(bounds: &[Bound], io: Io, refusal: Option<Refusal>, connection_count_max: usize) -> Running {
        Running {
            threads: Vec::new(),
            controls: Vec::new(),
            rows: Vec::new(),
            connection_count_max,
            ended_count: Arc::default(),
            places: bounds.iter().map(|bound| bound.shown.clone()).collect(),
            addresses: bounds.iter().filter_map(|bound| bound.address).collect(),
            io,
            refusal,
            files: Vec::new(),
            log: None,
        }
    }

    /// Starts the thread of the access log, where there is one, and answers with a log for each worker.
    fn start_log(&mut self, destination: Option<Destination>, config: &Config) -> io::Result<Vec<RequestLog>> {
        let Some(destination) = destination else { return Ok(Vec::new()) };
        let row = self.rows.first().cloned().unwrap_or_default();
        let (writer, ends) = LogWriter::start(destination, config.worker_count.max(1), row)?;
        self.log = Some(writer);
        let Config { access_log_format: format, access_log_redact: redact, .. } = *config;
        Ok(ends.into_iter().map(|lines| RequestLog { lines, format, redact }).collect())
    }

    /// The internet addresses that it listens on, with their real ports, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// All places that it listens on, as a person writes them: `http://127.0.0.1:8888`, `unix:/run/a.sock`.
    #[must_use]
    pub fn places(&self) -> &[String] {
        &self.places
    }

    /// The driver that the workers use; never `Auto`.
    #[must_use]
    pub fn io(&self) -> Io {
        self.io
    }

    /// Why `Auto` did not take io_uring, if it did not.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// How many workers serve.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        self.controls.len()
    }

    /// Connections at a time, over all workers: what the configuration wants, or what the descriptors allow.
    #[must_use]
    pub fn connection_count_max(&self) -> usize {
        self.connection_count_max
    }

    /// How often each limit was met so far, in all workers.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.rows.iter().for_each(|row| sum.add(&row.counts()));
        sum
    }

    /// Asks all workers to leave what is queued to a successor, to finish what runs and to end.
    pub fn retire(&self) {
        self.controls.iter().for_each(|control| control.retire());
    }

    /// Has the access log opened anew by its path, as after a rotation; no line is lost. What goes wrong is said.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }

    /// Asks all workers to take what is queued, to finish what runs and to end.
    pub fn drain(&self) {
        self.controls.iter().for_each(|control| control.drain());
    }

    /// Asks all workers to cut their connections and to end.
    pub fn stop(&self) {
        self.controls.iter().for_each(|control| control.stop());
    }

    /// How many workers have ended, or are about to: their last act counts them.
    #[must_use]
    pub fn ended_count(&self) -> usize {
        self.ended_count.load(Ordering::Acquire)
    }

    /// Whether all workers have ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended_count() == self.threads.len()
    }

    /// Leaves the workers as they are, for a process that ends at once; only the socket files are removed.
    pub fn abandon(mut self) {
        self.files.clear();
        self.threads.clear();
        if let Some(log) = &mut self.log {
            log.finish(ABANDON_PATIENCE);
        }
    }

    /// Waits until all workers have ended, and adds up how.
    ///
    /// # Errors
    /// The first worker's error; one that panicked has [`Panicked`] in it.
    pub fn join(mut self) -> io::Result<Outcome> {
        let mut sum = Outcome::default();
        let mut first_error = None;
        for thread in self.threads.drain(..) {
            let worker = thread.thread().name().unwrap_or_default().to_string();
            match thread.join().unwrap_or_else(|_| Err(io::Error::other(Panicked { worker }))) {
                Ok(outcome) => sum.cut_count += outcome.cut_count,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(sum), Err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // Who drops it does not ask how it ended.
            let _ = thread.join();
        }
    }
}

/// The driver to use, and why it is not io_uring where that was left open.
fn choose_io(io: Io) -> io::Result<(Io, Option<Refusal>)> {
    match io {
        Io::Epoll => Ok((Io::Epoll, None)),
        Io::Auto | Io::Uring => match uring::probe() {
            Ok(_) => Ok((Io::Uring, None)),
            Err(refusal) if io == Io::Auto => Ok((Io::Epoll, Some(refusal))),
            Err(refusal) => Err(io::Error::other(refusal.to_string())),
        },
    }
}

/// Finds out at the start, and not at the first large body, whether one can be spooled where that may be asked for.
pub(crate) fn try_spool(config: &Config) -> io::Result<()> {
    if !config.may_spool() {
        return Ok(());
    }
    spool::create(&config.spool_dir).map(drop).map_err(|error| {
        let place = config.spool_dir.display();
        io::Error::new(
            error.kind(),
            format!("cannot spool bodies in {place}: {error}; --spool-dir names another directory"),
        )
    })
}

fn open_log(log: &AccessLog) -> io::Result<Destination> {
    match log {
        AccessLog::Stdout => Destination::stdout(),
        AccessLog::File(path) => Destination::open(path),
    }
}

/// The processor of each worker; none where they are not to be bound.
fn processors(pin: Pin, worker_count: usize) -> Vec<usize> {
    let allowed = process::affinity().unwrap_or_default();
    if pin == Pin::Off || worker_count > allowed.len() { Vec::new() } else { allowed }
}

/// Turns sockets by worker into sockets by address.
fn by_address(shares: Vec<Vec<OwnedFd>>) -> Vec<Vec<OwnedFd>> {
    let mut addresses: Vec<Vec<OwnedFd>> = Vec::new();
    for share in shares {
        addresses.resize_with(addresses.len().max(share.len()), Vec::new);
        for (address, socket) in addresses.iter_mut().zip(share) {
            address.push(socket);
        }
    }
    addresses
}

/// The sockets to serve from: those that were given, or what is bound now.
fn bounds(given: Option<Shares>, addresses: &[Address], worker_count: usize) -> io::Result<Vec<Bound>> {
    let Some(Shares { sockets, own }) = given else {
        return addresses.iter().map(|one| bind::bind(one, worker_count)).collect();
    };
    let mut bounds = by_address(sockets).into_iter().map(bind::adopt).collect::<io::Result<Vec<_>>>()?;
    for (bound, is_own) in bounds.iter_mut().zip(own) {
        bound.is_own = is_own;
    }
    Ok(bounds)
}

/// The row of each worker.
fn rows(given: Option<Vec<Row>>, worker_count: usize) -> io::Result<Vec<Row>> {
    match given {
        Some(rows) if rows.len() == worker_count => Ok(rows),
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "there are not as many rows as workers")),
        None => Board::private(worker_count).map(|board| (0..worker_count).map(|index| board.row(index)).collect()),
    }
}

/// Turns sockets by address into sockets by worker.
fn shares(bounds: &mut [Bound], worker_count: usize) -> Vec<Vec<OwnedFd>> {
    let mut shares: Vec<Vec<OwnedFd>> = (0..worker_count).map(|_| Vec::new()).collect();
    for bound in bounds {
        for (share, socket) in shares.iter_mut().zip(bound.sockets.drain(..)) {
            share.push(socket);
        }
    }
    shares
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} panicked", self.worker)
    }
}

impl std::error::Error for Panicked {}

/// What a process that ends at once leaves the log for its last lines.
const ABANDON_PATIENCE: Duration = Duration::from_millis(50);
