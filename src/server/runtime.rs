//! A worker's thread with an asynchronous runtime, for applications that await.

use std::io;

use crate::app::Application;
use crate::driver::{epoll, uring};
use crate::host;
use crate::stats::DriverKind;
use crate::worker::Outcome;

use super::thread::{Place, begin, fail, not_set_up, unusable};

pub(super) use crate::host::Runtime;

impl Runtime {
    /// Makes a runtime, and with it at hand the application. Only who is told that it needs the runtime looks whether
    /// there is one.
    pub(super) fn make(
        with_ring: bool,
        factory: &dyn Fn() -> Box<dyn Application>,
    ) -> (io::Result<Runtime>, Box<dyn Application>) {
        let runtime = Runtime::new(with_ring);
        let app = match &runtime {
            Ok(runtime) => runtime.enter(factory),
            Err(_) => factory(),
        };
        (runtime, app)
    }
}

/// Serves as a task of the runtime.
pub(super) async fn host(with_ring: bool, app: Box<dyn Application>, place: Place) -> io::Result<Outcome> {
    let Place { listeners, pool, settings, control, ready } = place;
    if !with_ring {
        return match epoll::Epoll::new(control.waker(), listeners, pool) {
            Ok(driver) => {
                begin(ready, &settings, DriverKind::Epoll);
                host::run(driver, app, settings, control).await
            }
            Err(error) => fail(&ready, &unusable(&error)),
        };
    }
    let mut ring = match uring::build_guest() {
        Ok(ring) => ring,
        Err(refusal) => return fail(&ready, &refusal.to_string()),
    };
    match uring::Uring::guest(&mut ring, control.waker(), listeners, pool) {
        Ok(driver) => {
            begin(ready, &settings, DriverKind::Uring);
            host::run(driver, app, settings, control).await
        }
        Err(error) => fail(&ready, &not_set_up(&error)),
    }
}
