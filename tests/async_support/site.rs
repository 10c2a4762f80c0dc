//! A site of axum's that streams: what is uploaded is summed up while it comes, what is downloaded is made while it goes, and
//! what is never answered is counted. It is served by a process of its own.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body::{Body as _, Frame, SizeHint};

/// The routes; what else is asked for is for others to answer.
pub fn router() -> Router {
    Router::new()
        .route("/upload", any(upload))
        .route("/gated", any(gated))
        .route("/gate", any(async || GATE.open()))
        .route("/download/{size}", any(download))
        .route("/never", any(never))
        .route("/never/read", any(never_read))
        .route("/never/written", any(async || Body::new(Endless::new(1))))
        .route("/never/done", any(async || Body::new(Endless::new(usize::MAX))))
        .route("/never/task", any(never_task))
        .route("/census", any(census))
}

/// Bytes without a pattern that a wrong order could keep.
pub struct Noise(u64);

/// A sum over bytes and their order (FNV-1a).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sum(u64);

impl Noise {
    /// The same each time.
    pub fn seeded() -> Noise {
        Noise(0x5eed)
    }

    /// The next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

impl Sum {
    /// Of nothing.
    pub fn of_nothing() -> Sum {
        Sum(0xcbf2_9ce4_8422_2325)
    }

    /// Of more.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }

    /// In hexadecimal digits.
    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

async fn upload(request: Request) -> Response {
    match sum_of(request.into_body()).await {
        Ok(sum) => sum.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Reads only once the gate is open.
async fn gated(request: Request) -> Response {
    GATE.passed().await;
    upload(request).await
}

async fn sum_of(mut body: Body) -> Result<String, axum::Error> {
    let mut sum = Sum::of_nothing();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        sum.add(frame?.data_ref().expect("trailers are dropped"));
    }
    Ok(sum.text())
}

async fn download(Path(size): Path<u64>) -> Body {
    Body::new(Download { left: size, noise: Noise::seeded() })
}

/// A body that is made piece by piece, and does not say its size.
struct Download {
    left: u64,
    noise: Noise,
}

impl http_body::Body for Download {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Of many sizes, those that are copied and those that are sent from where they lie.
        let size = (1 + self.left % 30_011).min(self.left);
        if size == 0 {
            return Poll::Ready(None);
        }
        let mut bytes = vec![0; size as usize];
        self.noise.fill(&mut bytes);
        self.left -= size;
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Is shut until it is opened, for everybody.
struct Gate(Mutex<(bool, Vec<Waker>)>);

static GATE: Gate = Gate(Mutex::new((false, Vec::new())));

impl Gate {
    fn open(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = true;
        state.1.drain(..).for_each(Waker::wake);
    }

    async fn passed(&self) {
        poll_fn(|context| {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.0 {
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Counts those that have come and those that are alive.
struct Count(AtomicUsize, AtomicUsize);

/// One that is alive.
struct One(&'static Count);

impl Count {
    const fn new() -> Count {
        Count(AtomicUsize::new(0), AtomicUsize::new(0))
    }

    fn enter(&'static self) -> One {
        self.0.fetch_add(1, Ordering::AcqRel);
        self.1.fetch_add(1, Ordering::AcqRel);
        One(self)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.1.fetch_sub(1, Ordering::AcqRel);
    }
}

static FUTURES: Count = Count::new();
static BODIES: Count = Count::new();
static TASKS: Count = Count::new();

async fn never() {
    let _one = FUTURES.enter();
    pending().await
}

async fn never_read(request: Request) {
    let _one = FUTURES.enter();
    drop(sum_of(request.into_body()).await);
    pending().await
}

/// Hands the body to a task, which outlives the request.
async fn never_task(request: Request) {
    let (_one, one) = (FUTURES.enter(), TASKS.enter());
    let task = tokio::spawn(async move {
        let _one = one;
        sum_of(request.into_body()).await.is_err()
    });
    drop(task.await);
    pending().await
}

/// A body that gives so many pieces and then no end.
struct Endless {
    left: usize,
    _one: One,
}

impl Endless {
    fn new(left: usize) -> Endless {
        Endless { left, _one: BODIES.enter() }
    }
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 20_000])))))
    }
}

/// How many have come, and how many of each kind are alive; the last are those of the runtime.
async fn census() -> String {
    let come: usize = [&FUTURES, &BODIES].map(|count| count.0.load(Ordering::Acquire)).iter().sum();
    let alive = [&FUTURES, &BODIES, &TASKS].map(|count| count.1.load(Ordering::Acquire));
    let of_runtime = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    format!("{come} come, {alive:?} alive, {of_runtime} tasks.")
}
