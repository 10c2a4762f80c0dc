//! An application called in threads of its own, so that a call may block without holding up its worker.
//!
//! Each thread makes an instance; one more stays on the worker's thread, for what a worker asks of a head. A request is
//! copied and queued, and its answer comes by the worker's mailbox; the queue needs no bound, because a connection has
//! one request in service. A stream is pulled by the thread as well and reaches the peer through a pipe, so that its
//! head goes out at once; where the peer has gone, the next write says so and the stream is dropped by its thread.
//! While the thread pulls one stream it does nothing else: for one that answers `Pending` it parks until the nudge.
//! An application that itself answers later or awaits does not belong here, because its thread awaits the answer: that is a 500.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::buffer::{BLOCK_SIZE, let_go};
use crate::environ::{Environ, OwnedEnviron};
use crate::response::answer::Answer;
use crate::response::guard::guarded;
use crate::response::nudge::Nudge;
use crate::response::pipe::Writer;
use crate::response::stream::{Pulled, Room, Stream};
use crate::response::{Diverted, Responded, StartResponse};

use super::{Admission, Application};

/// Makes an instance of an application, on the thread that calls it.
pub type Factory = Arc<dyn Fn() -> Box<dyn Application> + Send + Sync>;

/// An application that is called in threads.
pub struct Threads {
    /// What the worker asks of heads; it is never called.
    app: Box<dyn Application>,
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

struct Queue {
    state: Mutex<State>,
    /// Told when there is a job, or the queue is closed.
    change: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    is_closed: bool,
    /// Threads that take jobs.
    thread_count: usize,
}

struct Job {
    environ: OwnedEnviron,
    answer: Answer,
}

/// Takes its thread off the queue's count, however it ends.
struct Serving<'q>(&'q Queue);

impl Threads {
    /// `count` threads, each with an instance that `factory` makes.
    ///
    /// # Panics
    /// Where a thread cannot be started, or the factory panics.
    #[must_use]
    pub fn new(count: usize, factory: Factory) -> Threads {
        let app = factory();
        Threads::around(app, count, factory)
    }

    /// The same beside an instance that is there already.
    pub(crate) fn around(app: Box<dyn Application>, count: usize, factory: Factory) -> Threads {
        let state = State { jobs: VecDeque::new(), is_closed: false, thread_count: count };
        let queue = Arc::new(Queue { state: Mutex::new(state), change: Condvar::new() });
        let start = |index| {
            let (queue, factory) = (queue.clone(), factory.clone());
            let builder = thread::Builder::new().name(format!("app-{index}"));
            match builder.spawn(move || serve(&queue, &factory)) {
                Ok(thread) => thread,
                Err(error) => panic!("a thread for the application cannot be started: {error}"),
            }
        };
        let threads = (0..count).map(start).collect();
        Threads { app, queue, threads }
    }
}

impl Application for Threads {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let environ = environ.to_owned();
        let (responded, answer) = start_response.later();
        self.queue.push(Job { environ, answer });
        responded
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        self.app.admit(environ)
    }

    fn reads_peer(&self) -> bool {
        self.app.reads_peer()
    }

    fn name<'s>(&'s self, environ: &Environ<'_>) -> &'s str {
        self.app.name(environ)
    }

    fn holds_lock(&self) -> bool {
        self.app.holds_lock()
    }

    fn let_wait(&self, wait: &mut dyn FnMut()) {
        self.app.let_wait(wait);
    }
}

impl Drop for Threads {
    /// Closes the queue and waits for the jobs in service, without the lock that they may need.
    fn drop(&mut self) {
        self.queue.close();
        let threads = &mut self.threads;
        self.app.let_wait(&mut || {
            for thread in threads.drain(..) {
                // A thread that has panicked had its line from the hook.
                let_go(thread.join());
            }
        });
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job that nobody would take is dropped, which is a 500.
    fn push(&self, job: Job) {
        let mut state = self.lock();
        if state.is_closed || state.thread_count == 0 {
            drop(state);
            return let_go(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.change.notify_one();
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.change.notify_all();
        let_go(jobs);
    }

    /// The next job; `None` when the queue is closed.
    fn take(&self, app: &dyn Application) -> Option<Job> {
        if let Some(job) = self.lock().jobs.pop_front() {
            return Some(job);
        }
        let mut taken = None;
        app.let_wait(&mut || {
            let has_none = |state: &mut State| state.jobs.is_empty() && !state.is_closed;
            let waiting = self.change.wait_while(self.lock(), has_none);
            taken = waiting.unwrap_or_else(PoisonError::into_inner).jobs.pop_front();
        });
        taken
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.thread_count -= 1;
        let left = if state.thread_count == 0 { std::mem::take(&mut state.jobs) } else { VecDeque::new() };
        drop(state);
        let_go(left);
    }
}

/// One thread: jobs until the queue is closed.
fn serve(queue: &Queue, factory: &Factory) {
    let _serving = Serving(queue);
    let app = factory();
    while let Some(job) = queue.take(&*app) {
        answer(&*app, job);
    }
}

/// Calls the application for one request, and pulls the stream that it may have answered with.
fn answer(app: &dyn Application, job: Job) {
    let Job { environ, answer } = job;
    let mut diverted = None;
    environ.with(|environ| {
        answer.respond_writing(|start_response| {
            let mut responded = app.call(environ, start_response);
            diverted = responded.divert();
            responded
        });
    });
    if let Some(Diverted { mut stream, writer, size_max }) = diverted {
        if let Some(writer) = writer {
            pull_all(app, &mut *stream, writer, size_max);
        }
        let_go(stream);
    }
}

/// Pulls a stream to its end, until nobody reads it, or past the size that was declared.
fn pull_all(app: &dyn Application, stream: &mut dyn Stream, mut writer: Writer, mut size_max: u64) {
    let nudge = Nudge::this_thread();
    let mut bytes = vec![0; BLOCK_SIZE];
    loop {
        let mut room = Room::with_nudge(&mut bytes, &nudge);
        let pulled = match guarded(|| stream.pull(&mut room)) {
            Ok(Ok(pulled)) => pulled,
            Ok(Err(error)) => return writer.fail(error),
            Err(fault) => return writer.fail(fault),
        };
        let (size, lent) = (room.size(), room.take_lent());
        let given = size as u64 + lent.size();
        let is_idle = given == 0;
        let has_room = writer.has_room(given);
        let mut lent = Some(lent);
        let mut written = Ok(());
        let mut write = || {
            written = writer.write(&bytes[..size]).and_then(|()| writer.lend(lent.take().unwrap_or_default()));
        };
        // To let go of a lock and wait for it again is dear, so it is kept where nothing blocks.
        if has_room {
            write()
        } else {
            app.let_wait(&mut write)
        }
        match pulled {
            _ if written.is_err() => return,
            Pulled::End => return writer.finish(),
            // The connection cuts it, and wants no more.
            _ if given > size_max => return writer.finish(),
            Pulled::More if is_idle => app.let_wait(&mut || thread::sleep(IDLE_TIME)),
            Pulled::Pending if is_idle => app.let_wait(&mut thread::park),
            Pulled::More | Pulled::Pending => {}
        }
        size_max -= given;
    }
}

/// How long a thread leaves a stream alone that has nothing at hand and cannot say when it has.
const IDLE_TIME: Duration = Duration::from_millis(1);
