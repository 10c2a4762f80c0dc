//! The worker's loop as a task of an asynchronous runtime: the same [`Worker`], on the same driver, beside the timers,
//! sockets and tasks that an application awaits on the same thread.
//!
//! Each worker thread has a runtime of its own, a [`tokio_uring`] one where the worker is on a ring and a plain tokio one
//! where it is on epoll (then `tokio_uring::fs` is absent). The worker takes turns that do not wait until one has
//! brought nothing, and only then awaits its driver's descriptor: while completions keep coming there is no system call
//! beside the driver's own. What is polled here need not be `Send`. A worker whose applications only answer at once is run
//! by [`worker::run`](crate::worker::run) and has nothing of this.
//!
//! # Fairness
//! Between two turns the others have theirs: after every turn while a request awaits something, for it may be them that
//! it awaits, and where the task has used up its share of tokio's budget; else after every sixteenth. The sixteenth also
//! lets the runtime go to sleep and wakes it at once: only on the way to sleep are submissions handed to the kernel
//! that an application has made to tokio_uring.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Handle};
use tokio::task::{LocalSet, coop, yield_now};
use tokio::time::sleep;

use crate::app::Application;
use crate::driver::Guest;
use crate::worker::{Control, Outcome, Settings, Worker};

/// The runtime of one worker's thread.
pub struct Runtime {
    kind: Kind,
    handle: Handle,
}

enum Kind {
    Ring(tokio_uring::Runtime),
    /// The tasks are dropped before their runtime.
    Plain(LocalSet, tokio::runtime::Runtime),
}

impl Runtime {
    /// Makes one; with a ring of its own beside the worker's, or without any.
    ///
    /// # Errors
    /// A lack of descriptors or memory, or a kernel that refuses the ring.
    pub fn new(with_ring: bool) -> io::Result<Runtime> {
        if with_ring {
            let runtime = tokio_uring::Runtime::new(&tokio_uring::builder())?;
            let handle = runtime.block_on(async { Handle::current() });
            return Ok(Runtime { kind: Kind::Ring(runtime), handle });
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Runtime { handle: runtime.handle().clone(), kind: Kind::Plain(LocalSet::new(), runtime) })
    }

    /// Calls `make` with the runtime at hand. It is not asynchronous there, so that it may block, and run other runtimes.
    pub fn enter<R>(&self, make: impl FnOnce() -> R) -> R {
        let _entered = self.handle.enter();
        make()
    }

    /// Runs `future` to its end, and with it what it spawns.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match &self.kind {
            Kind::Ring(runtime) => runtime.block_on(future),
            Kind::Plain(local, runtime) => runtime.block_on(local.run_until(future)),
        }
    }
}

/// Serves as [`worker::run`](crate::worker::run) does, as a task. What requests still await at the end is dropped here,
/// where the runtime is at hand.
///
/// # Errors
/// What made the driver unusable.
pub async fn run<D: Guest>(
    driver: D,
    app: Box<dyn Application>,
    settings: Settings,
    control: Arc<Control>,
) -> io::Result<Outcome> {
    #[cfg(feature = "wsgi")]
    crate::app::hosting::begin();
    let mut worker = Worker::new(driver, app, settings, control);
    poll_fn(|context| {
        worker.wake_task(context.waker().clone());
        Poll::Ready(())
    })
    .await;
    worker.start();
    let bell = worker.descriptor().try_clone_to_owned()?;
    // SAFETY: the descriptor is owned, so it stays open and the same for as long as it is registered.
    let bell = unsafe { AsyncFd::register_with_interest(bell, Interest::READABLE) }?;
    let mut turn_count: u32 = 0;
    while worker.turn_ready()? {
        turn_count = turn_count.wrapping_add(1);
        let is_busy = worker.was_busy() || worker.time_left().is_some_and(|time| time.is_zero());
        if !is_busy {
            rest(&mut worker, &bell).await?;
        } else if turn_count.is_multiple_of(TURN_COUNT_MAX) {
            nap(&mut worker, &bell).await?;
        } else if worker.has_unanswered() || !coop::has_budget_remaining() {
            yield_now().await;
        }
    }
    Ok(worker.outcome())
}

/// Waits for whatever may come: an edge of the driver's, a late answer, the worker's time.
async fn rest<D: Guest>(worker: &mut Worker<D>, bell: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut result = Ok(());
    if worker.doze() {
        let mut timer = pin!(worker.time_left().map(sleep));
        result = poll_fn(|context| {
            if worker.has_replies() {
                return Poll::Ready(Ok(()));
            }
            if let Poll::Ready(ready) = bell.poll_read_ready(context) {
                // Taken before the turn, so that an edge which comes behind it is another.
                return Poll::Ready(ready.map(|mut guard| guard.clear_ready()));
            }
            match timer.as_mut().as_pin_mut() {
                Some(timer) => timer.poll(context).map(Ok),
                None => Poll::Pending,
            }
        })
        .await;
    }
    worker.rouse();
    result
}

/// Lets the runtime go to sleep and wakes it at once, where the driver can.
async fn nap<D: Guest>(worker: &mut Worker<D>, bell: &AsyncFd<OwnedFd>) -> io::Result<()> {
    if worker.ring() {
        bell.readable().await?.clear_ready();
    } else {
        yield_now().await;
    }
    Ok(())
}

/// Turns that a busy worker takes in a row while nothing is known of others.
const TURN_COUNT_MAX: u32 = 16;
