//! The server's numbers, served: `/metrics`, `/status.json`, `/healthz`, `/readyz`, and a page to watch at `/`.
//!
//! It is an application like any other, on a worker of its own with small limits, so that all of the server's strictness
//! holds here too. The worker has no thread: it takes its turns in the loop of whoever supervises, which polls
//! [`Admin::descriptor`] among others. The numbers come from the [`Board`]; the workers notice nothing.

mod exposition;
mod metrics;
mod status;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use socket2::SockRef;

use crate::app::Application;
use crate::buffer::Pool;
use crate::connection::Limits;
use crate::driver::epoll::Epoll;
use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};
use crate::server::listeners::Listeners;
use crate::stats::{Board, Phase, Row};
use crate::sys::{Reserve, Waker, process};
use crate::worker::{Control, Settings, Worker};

/// The numbers of a server, listening.
pub struct Admin {
    worker: Worker<Epoll>,
    /// As a person writes them.
    places: Vec<String>,
    /// The sockets again, for who takes over.
    descriptors: Vec<RawFd>,
}

/// The application.
struct Pages {
    board: Board,
}

/// What is answered to a GET: its type and its bytes.
struct Page {
    status: Status,
    content_type: &'static str,
    bytes: Bytes,
}

enum Bytes {
    Static(&'static str),
    Made(String),
}

impl Admin {
    /// Serves what is on the board to those who come to the listeners. Their files are the caller's to keep.
    ///
    /// # Errors
    /// A lack of descriptors.
    pub(crate) fn new(listeners: &mut Listeners, board: Board) -> io::Result<Admin> {
        process::ignore_failed_writes();
        let sockets = listeners.take().sockets.pop().unwrap_or_default();
        for socket in &sockets {
            SockRef::from(socket).set_nonblocking(true)?;
        }
        let descriptors = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let control = Arc::new(Control::new(Waker::new()?));
        let driver = Epoll::new(control.waker(), sockets, Pool::new(0, BLOCK_COUNT_MAX))?;
        let settings = Settings {
            limits: limits(),
            listeners: listeners.origins(),
            own_listeners: Vec::new(),
            access_log: None,
            shows_request_ids: false,
            connection_count_max: CONNECTION_COUNT_MAX,
            // Nothing is ever spooled, because no request may have a body.
            spool_dir: PathBuf::new(),
            stats: Row::default(),
            reserve: Reserve::new(),
            graceful_timeout: Duration::ZERO,
        };
        let mut worker = Worker::new(driver, Box::new(Pages { board }), settings, control);
        worker.start();
        Ok(Admin { worker, places: listeners.places.clone(), descriptors })
    }

    /// The descriptor to poll; when it is readable, [`Admin::turn`] has something to do.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.worker.descriptor().as_raw_fd()
    }

    /// How long [`Admin::turn`] need not be called while the descriptor is not readable; `None` is for ever.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.worker.time_left()
    }

    /// Serves what is there, and never waits.
    ///
    /// # Errors
    /// What made it unusable; the server goes on without it.
    pub fn turn(&mut self) -> io::Result<()> {
        for _ in 0..TURN_COUNT_MAX {
            self.worker.turn_ready()?;
            if self.timeout() != Some(Duration::ZERO) {
                break;
            }
        }
        Ok(())
    }

    /// The places that it listens on, as a person writes them.
    #[must_use]
    pub fn places(&self) -> &[String] {
        &self.places
    }

    /// The numbers of the listening sockets.
    pub(crate) fn listeners(&self) -> &[RawFd] {
        &self.descriptors
    }
}

/// Smaller ones than a server's: those who ask for numbers ask quickly and say little.
fn limits() -> Limits {
    let mut limits = Limits {
        body_memory: 0,
        bodies_max: 0,
        head_timeout: Duration::from_secs(5),
        write_idle: Duration::from_secs(5),
        drain_max: 0,
        ..Limits::default()
    };
    limits.body.body_max = 0;
    limits
}

impl Pages {
    fn page(&self, path: &[u8]) -> Option<Page> {
        let fixed = |content_type, text| Some(Page { status: Status::OK, content_type, bytes: Bytes::Static(text) });
        let made = |content_type, text| Some(Page { status: Status::OK, content_type, bytes: Bytes::Made(text) });
        match path {
            b"/" => fixed("text/html; charset=utf-8", include_str!("admin/page.html")),
            b"/page.css" => fixed("text/css; charset=utf-8", include_str!("admin/page.css")),
            b"/page.js" => fixed("text/javascript; charset=utf-8", include_str!("admin/page.js")),
            b"/icon.svg" => fixed("image/svg+xml", include_str!("admin/icon.svg")),
            b"/metrics" => made("text/plain; version=0.0.4; charset=utf-8", metrics::text(&self.board)),
            b"/status.json" => made("application/json", status::json(&self.board, SystemTime::now())),
            b"/healthz" => fixed("text/plain; charset=utf-8", "ok\n"),
            b"/readyz" => Some(self.readiness()),
            _ => None,
        }
    }

    /// Whether the server wants new connections.
    fn readiness(&self) -> Page {
        let (status, text) = match self.board.phase() {
            Phase::Starting => (Status::SERVICE_UNAVAILABLE, "starting\n"),
            Phase::Serving => (Status::OK, "ready\n"),
            Phase::Draining => (Status::SERVICE_UNAVAILABLE, "draining\n"),
        };
        Page { status, content_type: "text/plain; charset=utf-8", bytes: Bytes::Static(text) }
    }
}

impl Application for Pages {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let Some(Page { status, content_type, bytes }) = self.page(environ.path_info()) else {
            return start_response.start(Status::NOT_FOUND).headers(FIELDS).body_static(b"Not Found\n");
        };
        if !matches!(environ.request_method(), b"GET" | b"HEAD") {
            let headers = start_response.start(Status::METHOD_NOT_ALLOWED).headers(FIELDS);
            return headers.header("Allow", "GET, HEAD").body_static(b"Method Not Allowed\n");
        }
        let headers = start_response.start(status).headers(FIELDS).header("Content-Type", content_type);
        match bytes {
            Bytes::Static(text) => headers.body_static(text.as_bytes()),
            Bytes::Made(text) => headers.body_owned(text),
        }
    }

    fn reads_peer(&self) -> bool {
        false
    }

    fn name<'s>(&'s self, _environ: &Environ<'_>) -> &'s str {
        "admin"
    }
}

/// What every answer says: numbers are of now, and the page needs nothing but its own script and style.
const FIELDS: [(&str, &str); 4] = [
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
];
const CONNECTION_COUNT_MAX: usize = 64;
/// Blocks that all peers together may make it hold.
const BLOCK_COUNT_MAX: usize = 128;
/// Turns in a row before the supervisor's other business has its turn.
const TURN_COUNT_MAX: usize = 16;
