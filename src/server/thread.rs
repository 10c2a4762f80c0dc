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

use crate::buffer::Pool;
use crate::config::Io;
use crate::driver::{epoll, uring};
use crate::stats::{DriverKind, Row};
use crate::sys::process;
use crate::worker::{self, Control, Outcome, Settings};

use super::Factory;

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
    let app = factory();
    let pool = Pool::new(WARM_BLOCK_COUNT, block_count_max);
    let waker = control.waker();
    match io {
        Io::Epoll => match epoll::Epoll::new(waker, listeners, pool) {
            Ok(driver) => {
                settings.stats.begin(DriverKind::Epoll, SystemTime::now());
                begin(ready, || worker::run(driver, app, settings, control))
            }
            Err(error) => fail(&ready, &format!("epoll cannot be used: {error}")),
        },
        Io::Auto | Io::Uring => {
            let mut ring = match uring::build() {
                Ok(ring) => ring,
                Err(refusal) => return fail(&ready, &refusal.to_string()),
            };
            match uring::Uring::new(&mut ring, waker, listeners, pool) {
                Ok(driver) => {
                    settings.stats.begin(DriverKind::Uring, SystemTime::now());
                    begin(ready, || worker::run(driver, app, settings, control))
                }
                Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                    let remedy = "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=), or take fewer workers";
                    fail(&ready, &format!("the ring cannot be set up: {error}; {remedy}"))
                }
                Err(error) => fail(&ready, &format!("the ring cannot be set up: {error}")),
            }
        }
    }
}

fn begin(ready: Sender<io::Result<()>>, run: impl FnOnce() -> io::Result<Outcome>) -> io::Result<Outcome> {
    // Nobody listens any more where another worker has failed; then a stop is on its way.
    let _ = ready.send(Ok(()));
    drop(ready);
    run()
}

/// The starting thread is told, and this one has nothing to add.
fn fail(ready: &Sender<io::Result<()>>, sentence: &str) -> io::Result<Outcome> {
    let _ = ready.send(Err(io::Error::other(sentence.to_string())));
    Err(io::Error::other(sentence.to_string()))
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
