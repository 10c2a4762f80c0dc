//! Whole servers, with a runtime in each worker.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway::app::asynchronous::{Responded, StartResponse};
use ringway::config::Io;
use ringway::{Application, Mounts, OwnedEnviron, Status, asynchronous};

use super::async_support::signal::Census;
use super::async_support::sockets::{connect, read_to_end, read_until, reset, send, serve, wait_until};

/// How long nothing must happen to be taken for rest.
const QUIET: Duration = Duration::from_millis(500);
const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn path(environ: &OwnedEnviron) -> String {
    environ.with(|environ| String::from_utf8_lossy(environ.path_info()).into_owned())
}

fn text(start_response: StartResponse, body: impl Into<String>) -> Responded {
    start_response.start(Status::OK).header("Content-Type", "text/plain").body(body.into())
}

/// Uses what a runtime is for.
async fn everything(environ: OwnedEnviron, start_response: StartResponse) -> Responded {
    match path(&environ).as_str() {
        "/timer" => {
            tokio::time::sleep(Duration::from_millis(5)).await;
            text(start_response, "slept")
        }
        "/task" => {
            let local = std::rc::Rc::new(Cell::new(0));
            let other = local.clone();
            let task = tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                other.set(7);
            });
            task.await.expect("it does not panic");
            text(start_response, format!("task {}", local.get()))
        }
        "/thread" => {
            let count = tokio::task::spawn_blocking(|| 8).await.expect("it does not panic");
            text(start_response, format!("thread {count}"))
        }
        "/socket" => {
            let (one, other) = tokio::net::UnixStream::pair().expect("a pair of sockets");
            one.writable().await.expect("it is open");
            one.try_write(b"through a socket").expect("there is room");
            let mut bytes = [0; 100];
            other.readable().await.expect("it is open");
            let size = other.try_read(&mut bytes).expect("it is there");
            text(start_response, String::from_utf8_lossy(&bytes[..size]))
        }
        "/file" => {
            let file = tokio_uring::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).await;
            let (result, bytes) = file.expect("it is there").read_at(vec![0; 9], 0).await;
            assert_eq!(result.expect("it can be read"), 9);
            text(start_response, String::from_utf8_lossy(&bytes))
        }
        _ => text(start_response, "nothing"),
    }
}

#[test]
fn a_future_has_a_runtime_around_it() {
    let make = || Box::new(asynchronous(everything)) as Box<dyn Application>;
    serve(
        "a_future_has_a_runtime_around_it",
        make,
        |_| {},
        |running, io| {
            let mut stream = connect(running);
            let mut paths = vec![
                ("/timer", "slept"),
                ("/task", "task 7"),
                ("/thread", "thread 8"),
                ("/socket", "through a socket"),
            ];
            if io == Io::Uring {
                paths.push(("/file", "[package]"));
            }
            for _ in 0..20 {
                for (path, expected) in &paths {
                    send(&mut stream, format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
                    read_until(&mut stream, expected);
                }
            }
        },
    );
}

/// Files are read on tokio_uring's own ring, and its submissions leave when the runtime goes to sleep: also where the
/// worker has no rest.
#[test]
fn a_busy_worker_lets_the_runtime_submit() {
    let make = || Box::new(asynchronous(everything)) as Box<dyn Application>;
    serve(
        "a_busy_worker_lets_the_runtime_submit",
        make,
        |_| {},
        |running, io| {
            if io != Io::Uring {
                return;
            }
            let is_over = Arc::new(AtomicUsize::new(0));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    let (mut stream, is_over) = (connect(running), is_over.clone());
                    scope.spawn(move || {
                        let mut bytes = vec![0; 64 * 1024];
                        while is_over.load(Ordering::Acquire) == 0 {
                            send(&mut stream, GET.repeat(100));
                            let _ = stream.read(&mut bytes).expect("answers come");
                        }
                    });
                }
                let mut stream = connect(running);
                for _ in 0..10 {
                    send(&mut stream, "GET /file HTTP/1.1\r\nHost: h\r\n\r\n");
                    read_until(&mut stream, "[package]");
                }
                is_over.store(1, Ordering::Release);
            });
        },
    );
}

#[test]
fn a_factory_has_the_runtime_at_hand_and_others_are_none_of_its_business() {
    let make = || {
        let task = tokio::spawn(async { "made early" });
        let task = std::rc::Rc::new(std::cell::RefCell::new(Some(task)));
        let early = asynchronous(move |_: OwnedEnviron, start_response: StartResponse| {
            let task = task.borrow_mut().take();
            async move {
                let said = match task {
                    Some(task) => task.await.expect("it does not panic"),
                    None => "again",
                };
                text(start_response, said)
            }
        });
        let sync = ringway::app(|_, start_response| start_response.start(ringway::Status::OK).body("at once"));
        Box::new(Mounts::new().mount("/early", "early", early).mount("/", "sync", sync)) as Box<dyn Application>
    };
    serve(
        "a_factory_has_the_runtime_at_hand",
        make,
        |_| {},
        |running, _| {
            let mut stream = connect(running);
            send(&mut stream, "GET /early HTTP/1.1\r\nHost: h\r\n\r\n");
            read_until(&mut stream, "made early");
            send(&mut stream, GET);
            read_until(&mut stream, "at once");
        },
    );
    // An application that answers at once may have a runtime of its own, and blocks on it where it likes.
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        Box::new(ringway::app(move |_, start_response| {
            runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
            start_response.start(ringway::Status::OK).body("blocked")
        })) as Box<dyn Application>
    };
    serve(
        "others are none of its business",
        make,
        |_| {},
        |running, _| {
            let mut stream = connect(running);
            send(&mut stream, GET);
            read_until(&mut stream, "blocked");
        },
    );
}

#[test]
fn a_dropped_client_cancels_and_ten_thousand_leave_nothing() {
    let census = Census::default();
    let counted = census.clone();
    let make = move || {
        let census = counted.clone();
        Box::new(asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
            let alive = census.enter();
            async move {
                let _alive = alive;
                match path(&environ).as_str() {
                    "/reads" => drop(environ.take_input().read_all().await),
                    "/waits" => std::future::pending().await,
                    _ => {}
                }
                text(start_response, "answered")
            }
        })) as Box<dyn Application>
    };
    serve(
        "a_dropped_client_cancels",
        make,
        |_| {},
        |running, _| {
            let mut other = connect(running);
            let count_descriptors = || std::fs::read_dir("/proc/self/fd").expect("it can be read").count();
            let before = count_descriptors();
            for round in 0..100 {
                let streams: Vec<_> = (0..50)
                    .map(|index| {
                        let mut stream = connect(running);
                        let request = match (round + index) % 2 {
                            0 => "POST /reads HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf",
                            _ => "GET /waits HTTP/1.1\r\nHost: h\r\n\r\n",
                        };
                        send(&mut stream, request);
                        stream
                    })
                    .collect();
                wait_until("all are called", || census.count() == 50);
                streams.into_iter().for_each(reset);
                wait_until("all are cancelled", || census.count() == 0);
            }
            wait_until("all descriptors are closed", || count_descriptors() == before);
            send(&mut other, GET);
            read_until(&mut other, "answered");
        },
    );
}

#[test]
fn a_slow_reader_pauses_the_body_and_an_application_that_does_not_read_pauses_the_peer() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let make = move || {
        let count = count.clone();
        Box::new(asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
            let count = count.clone();
            async move {
                if path(&environ) == "/upload" {
                    let _input = environ.take_input();
                    return std::future::pending().await;
                }
                start_response.start(Status::OK).write(async move |mut writer| {
                    loop {
                        writer.write(vec![b'x'; 10_000]).await?;
                        count.fetch_add(10_000, Ordering::AcqRel);
                    }
                })
            }
        })) as Box<dyn Application>
    };
    serve(
        "a_slow_reader_pauses_the_body",
        make,
        |config| config.limits.body.body_max = u64::MAX,
        |running, _| {
            written.store(0, Ordering::Release);
            let mut stream = connect(running);
            send(&mut stream, GET);
            // It comes to rest when the buffers of both sockets are full, which is long before this.
            wait_until("it comes to rest", || {
                let before = written.load(Ordering::Acquire);
                std::thread::sleep(QUIET);
                before > 0 && before == written.load(Ordering::Acquire)
            });
            let size = written.load(Ordering::Acquire);
            assert!(size < 32 << 20, "{size} bytes for a peer that reads nothing");
            reset(stream);

            let mut stream = connect(running);
            stream.set_write_timeout(Some(QUIET)).expect("a socket has this option");
            send(&mut stream, "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [format!("{:x}\r\n", 60_000).into_bytes(), vec![b'x'; 60_000], b"\r\n".to_vec()].concat();
            let mut sent_size = 0;
            let error = loop {
                match stream.write(&chunk[sent_size % chunk.len()..]) {
                    Ok(size) => sent_size += size,
                    Err(error) => break error,
                }
                assert!(sent_size < 64 << 20, "an application that reads nothing is sent all of this");
            };
            assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            reset(stream);
        },
    );
}

#[test]
fn a_drain_waits_for_what_runs_and_drops_the_rest_where_the_runtime_is_at_hand() {
    /// Counts where it was dropped without a runtime.
    struct NeedsRuntime(Arc<AtomicUsize>);
    impl Drop for NeedsRuntime {
        fn drop(&mut self) {
            self.0.fetch_add(usize::from(tokio::runtime::Handle::try_current().is_err()), Ordering::AcqRel);
        }
    }
    let missed = Arc::new(AtomicUsize::new(0));
    let miss = missed.clone();
    let dropped = Census::default();
    let counted = dropped.clone();
    let make = move || {
        let (census, miss) = (counted.clone(), miss.clone());
        Box::new(asynchronous(move |environ: OwnedEnviron, start_response: StartResponse| {
            let alive = (census.enter(), NeedsRuntime(miss.clone()));
            async move {
                let _alive = alive;
                if path(&environ) == "/never" {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                text(start_response, "in time")
            }
        })) as Box<dyn Application>
    };
    let change = |config: &mut ringway::config::Config| config.graceful_timeout = Duration::from_secs(2);
    serve("a_drain_waits_for_what_runs", make, change, |running, _| {
        let (mut patient, mut never) = (connect(running), connect(running));
        send(&mut patient, GET);
        send(&mut never, "GET /never HTTP/1.1\r\nHost: h\r\n\r\n");
        wait_until("both are called", || dropped.count() == 2);
        running.drain();
        assert!(read_to_end(&mut patient).ends_with("in time"));
        let mut rest = Vec::new();
        never.read_to_end(&mut rest).ok();
        assert!(rest.is_empty());
        wait_until("it has ended", || running.is_finished());
        assert_eq!((dropped.count(), missed.load(Ordering::Acquire)), (0, 0));
    });
}
