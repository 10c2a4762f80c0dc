//! Ringway: an io_uring HTTP server for Linux with a gateway interface.
//!
//! What WSGI is to Python (PEP 3333), Ringway is to Rust: an application is a function of `environ` and
//! `start_response`, and the server knows nothing else of it.
//!
//! ```
//! use ringway::{Environ, Responded, StartResponse, Status};
//!
//! fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
//!     start_response.start(Status::OK).header("Content-Type", "text/plain").body(environ.path_info())
//! }
//! # let _ = ringway::apps! { "mine:app" => app };
//! ```
//!
//! # The map, in reading order
//! A request comes in by [`driver`] (`uring`, `epoll`, `sim`), is taken by the [`worker`] into an [`inbound`],
//! parsed by a [`connection`] with the rules of [`http`], shown to an [`mod@app`] as an [`environ`], answered by
//! a [`response`] that is assembled in an [`outbound`], and goes out the way it came. [`buffer`], [`spool`], [`slab`],
//! [`timer`], [`stats`], [`diagnostics`] and [`sys`] are what these stand on. `admin` shows the numbers of a server to
//! others, and `host` runs a worker as a task of an asynchronous runtime.

#[cfg(feature = "cli")]
pub mod admin;
pub mod app;
pub mod apps;
pub mod buffer;
#[cfg(feature = "cli")]
mod cli;
pub mod config;
pub mod connection;
pub mod diagnostics;
pub mod driver;
pub mod environ;
#[cfg(feature = "async")]
pub mod host;
pub mod http;
pub mod inbound;
mod json;
pub mod log_writer;
pub mod outbound;
pub mod response;
pub mod server;
pub mod slab;
pub mod spool;
pub mod stats;
pub mod sys;
pub mod timer;
#[cfg(feature = "async")]
pub mod tower;
pub mod worker;
#[cfg(feature = "wsgi")]
pub mod wsgi;

#[cfg(feature = "async")]
pub use app::asynchronous::asynchronous;
pub use app::{Admission, Application, Apps, Linked, Mounts, Named, Threads, app};
pub use buffer::{FileRange, Payload};
#[cfg(feature = "cli")]
pub use cli::{Exit, Invocation, main, run};
pub use environ::{Environ, InputError, InputStream, OwnedEnviron};
pub use http::status::Status;
pub use response::answer::Answer;
pub use response::nudge::Nudge;
pub use response::stream::{Pulled, Room, Stream, blocks};
pub use response::{Headers, Responded, StartResponse};
