//! One worker's thread: its processor, its driver, its instance of the application.
//!
//! All of it is made on the thread itself: a ring belongs to the thread that made it, and an application need
//! not be `Send`.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};
use std::time::SystemTime;

use crate::app::Application;
use crate::buffer::Pool;
use crate::config::Io;
use crate::driver::{epoll, uring};
use crate::stats::{DriverKind, Row};
use crate::sys::process;
use crate::worker::{self, Control, Outcome, Settings};

use super::Factory;
use super::runtime::{Runtime, host};

/// What one worker is given.
pub(super) struct Assignment {
    pub(super) index: usize,
    pub(super) io: Io,
    pub(super) processor: Option<usize>,
    pub(super) listeners: Vec<OwnedFd>,
    pub(super) block_count_max: usize,
    pub(super) settings: Settings,
    pub(super) control: Arc<Control>,
    pub(super) factory: Factory,
    pub(super) at_end: AtEnd,
}

/// What a worker serves with, whatever its loop.
pub(super) struct Place {
    pub(super) listeners: Vec<OwnedFd>,
    pub(super) pool: Pool,
    pub(super) settings: Settings,
    pub(super) control: Arc<Control>,
    /// Told once that it serves, or why not.
    pub(super) ready: Sender<io::Result<()>>,
}

/// Says that the thread ends, also by a panic.
pub(super) struct AtEnd {
    pub(super) row: Row,
    pub(super) ended_count: Arc<AtomicUsize>,
    pub(super) on_end: Option<fn()>,
}

/// Starts the thread. It says once on `ready` whether it serves.
pub(super) fn spawn(
    assignment: Assignment,
    ready: Sender<io::Result<()>>,
) -> io::Result<JoinHandle<io::Result<Outcome>>> {
    Builder::new().name(format!("ringway-{}", assignment.index)).spawn(move || serve(assignment, ready))
}

fn serve(assignment: Assignment, ready: Sender<io::Result<()>>) -> io::Result<Outcome> {
    // Named first so that it is dropped last, when the driver is gone.
    let Assignment { at_end: _at_end, index: _, io, processor, listeners, block_count_max, settings, control, factory } =
        assignment;
    if let Some(processor) = processor {
        // An unpinned worker serves as well, only less evenly.
        let _ = process::pin(processor);
    }
    let with_ring = io != Io::Epoll;
    let (runtime, app) = Runtime::make(with_ring, &*factory);
    let runtime = match app.needs_runtime().then_some(runtime).transpose() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&ready, &format!("the runtime of the application cannot be started: {error}")),
    };
    let pool = Pool::new(WARM_BLOCK_COUNT, block_count_max);
    let place = Place { listeners, pool, settings, control, ready };
    match runtime {
        Some(runtime) => runtime.block_on(host(with_ring, app, place)),
        None if with_ring => serve_on_ring(app, place),
        None => serve_on_epoll(app, place),
    }
}

fn serve_on_epoll(app: Box<dyn Application>, place: Place) -> io::Result<Outcome> {
    let Place { listeners, pool, settings, control, ready } = place;
    match epoll::Epoll::new(control.waker(), listeners, pool) {
        Ok(driver) => {
            begin(ready, &settings, DriverKind::Epoll);
            worker::run(driver, app, settings, control)
        }
        Err(error) => fail(&ready, &unusable(&error)),
    }
}

fn serve_on_ring(app: Box<dyn Application>, place: Place) -> io::Result<Outcome> {
    let Place { listeners, pool, settings, control, ready } = place;
    let mut ring = match uring::build() {
        Ok(ring) => ring,
        Err(refusal) => return fail(&ready, &refusal.to_string()),
    };
    match uring::Uring::new(&mut ring, control.waker(), listeners, pool) {
        Ok(driver) => {
            begin(ready, &settings, DriverKind::Uring);
            worker::run(driver, app, settings, control)
        }
        Err(error) => fail(&ready, &not_set_up(&error)),
    }
}

pub(super) fn begin(ready: Sender<io::Result<()>>, settings: &Settings, kind: DriverKind) {
    settings.stats.begin(kind, SystemTime::now());
    // Nobody listens any more where another worker has failed; then a stop is on its way.
    let _ = ready.send(Ok(()));
}

/// The starting thread is told, and this one has nothing to add.
pub(super) fn fail(ready: &Sender<io::Result<()>>, sentence: &str) -> io::Result<Outcome> {
    let _ = ready.send(Err(io::Error::other(sentence.to_string())));
    Err(io::Error::other(sentence.to_string()))
}

pub(super) fn unusable(error: &io::Error) -> String {
    format!("epoll cannot be used: {error}")
}

pub(super) fn not_set_up(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::OutOfMemory => {
            let remedy = "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=), or take fewer workers";
            format!("the ring cannot be set up: {error}; {remedy}")
        }
        _ => format!("the ring cannot be set up: {error}"),
    }
}

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.row.end();
        self.ended_count.fetch_add(1, Ordering::AcqRel);
        if let Some(on_end) = self.on_end {
            on_end();
        }
    }
}

/// Blocks that each worker makes before it serves, so that the first requests allocate nothing.
const WARM_BLOCK_COUNT: usize = 64;
