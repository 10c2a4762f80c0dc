//! The application callable: what a server calls for each request.
//!
//! An [`Application`] is a plain function of `environ` and `start_response`, a closure made with [`app`],
//! or a type of its own. Each worker has its own instance, made by a factory that [`apps!`](crate::apps!)
//! registers, so an application needs neither `Send` nor `Sync`. This module performs no I/O.

#[cfg(feature = "async")]
pub mod asynchronous;
#[cfg(feature = "wsgi")]
pub(crate) mod hosting;
mod mounts;
mod threads;

use std::fmt;

use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};

pub use mounts::Mounts;
pub use threads::{Factory, Threads};

/// Answers requests.
pub trait Application {
    /// Answers one request, which has arrived completely. A panic costs this request a 500, no more.
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r>;

    /// Decides on the complete head, before the body is read, what is to become of the body.
    fn admit(&self, environ: &Environ<'_>) -> Admission {
        let _ = environ;
        Admission::Buffer
    }

    /// Whether the application wants to know the peer's address. One that never reads `REMOTE_ADDR` saves
    /// a system call a connection by saying so.
    fn reads_peer(&self) -> bool {
        true
    }

    /// The name of whoever would answer this request, for the operator's log.
    fn name<'s>(&'s self, environ: &Environ<'_>) -> &'s str {
        let _ = environ;
        "the application"
    }

    /// Whether it holds a lock between calls, as that of an interpreter. The worker then first looks without
    /// waiting for what has come, and waits in [`Application::let_wait`] only where that was nothing. Not so where another
    /// application [needs a runtime](Application::needs_runtime), in which the worker waits: there none may hold a lock.
    fn holds_lock(&self) -> bool {
        false
    }

    /// Whether it awaits, so that its worker is to be a task of an asynchronous runtime. Where no application says so,
    /// none is run. Asked once, behind the factory, which is called with the runtime at hand: what only wants to be made
    /// within one (`tokio::spawn`, a timer, a pool of connections) may be made there.
    fn needs_runtime(&self) -> bool {
        false
    }

    /// Waits, by calling `wait` once, and lets go of the lock meanwhile, so that other threads can have it. Where
    /// several applications are mounted they wait within one another, so one may find a lock that they share free.
    fn let_wait(&self, wait: &mut dyn FnMut()) {
        wait();
    }
}

/// What is to become of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Read it, then call the application with the whole.
    Buffer,
    /// Call the application at once, and let it read the body as it comes
    /// ([`Environ::input_stream`]). For applications that await or answer later: one that answers at once has seen
    /// nothing of a body that was still on its way, and that is read away or the connection closed.
    Stream,
    /// Answer with this status and do not read it. The connection is closed.
    Refuse(Status),
}

/// An application linked into the program: its name, a sentence about it, and how a worker makes one.
#[derive(Clone)]
pub struct Linked {
    /// `module:callable`.
    pub name: &'static str,
    /// One sentence for `ringway apps`; may be empty.
    pub description: &'static str,
    /// Makes an instance; called once in each worker.
    pub make: fn() -> Box<dyn Application>,
}

/// The linked applications, as [`apps!`](crate::apps!) lists them.
pub type Apps = Vec<Linked>;

/// An application under the name that the operator gave it.
pub struct Named<A> {
    name: String,
    app: A,
}

/// Makes an application of a closure. The bound tells the compiler what lifetimes the closure has.
pub fn app<F>(call: F) -> F
where
    F: for<'r> Fn(&Environ<'_>, StartResponse<'r>) -> Responded<'r>,
{
    call
}

/// Lists linked applications: `apps! { "module:callable" => expression, … }`, each with an optional sentence
/// in between: `"hello:app", "Says hello." => hello::app`. The expression is evaluated once in each worker.
#[macro_export]
macro_rules! apps {
    ($($name:literal $(, $description:literal)? => $app:expr),* $(,)?) => {
        ::std::vec![$($crate::Linked {
            name: $name,
            description: ::std::concat!($($description)?),
            make: || ::std::boxed::Box::new($app),
        }),*]
    };
}

impl<F> Application for F
where
    F: for<'r> Fn(&Environ<'_>, StartResponse<'r>) -> Responded<'r>,
{
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        self(environ, start_response)
    }
}

impl Application for Box<dyn Application> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        (**self).call(environ, start_response)
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        (**self).admit(environ)
    }

    fn reads_peer(&self) -> bool {
        (**self).reads_peer()
    }

    fn name<'s>(&'s self, environ: &Environ<'_>) -> &'s str {
        (**self).name(environ)
    }

    fn holds_lock(&self) -> bool {
        (**self).holds_lock()
    }

    fn needs_runtime(&self) -> bool {
        (**self).needs_runtime()
    }

    fn let_wait(&self, wait: &mut dyn FnMut()) {
        (**self).let_wait(wait);
    }
}

impl<A: Application> Named<A> {
    /// `app`, called `name` in the log.
    pub fn new(name: impl Into<String>, app: A) -> Named<A> {
        Named { name: name.into(), app }
    }
}

impl<A: Application> Application for Named<A> {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        self.app.call(environ, start_response)
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        self.app.admit(environ)
    }

    fn reads_peer(&self) -> bool {
        self.app.reads_peer()
    }

    fn name<'s>(&'s self, _environ: &Environ<'_>) -> &'s str {
        &self.name
    }

    fn holds_lock(&self) -> bool {
        self.app.holds_lock()
    }

    fn needs_runtime(&self) -> bool {
        self.app.needs_runtime()
    }

    fn let_wait(&self, wait: &mut dyn FnMut()) {
        self.app.let_wait(wait);
    }
}

impl fmt::Debug for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linked").field("name", &self.name).finish_non_exhaustive()
    }
}
