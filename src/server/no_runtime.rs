//! A worker's thread without the feature `async`: no application awaits.

use std::convert::Infallible;
use std::io;

use crate::app::Application;
use crate::worker::Outcome;

use super::thread::Place;

/// There is none.
pub(super) struct Runtime(Infallible);

impl Runtime {
    pub(super) fn make(
        _with_ring: bool,
        factory: &dyn Fn() -> Box<dyn Application>,
    ) -> (io::Result<Runtime>, Box<dyn Application>) {
        (Err(io::Error::other("this program is built without the feature `async`")), factory())
    }

    pub(super) fn block_on<F: Future>(&self, _future: F) -> F::Output {
        match self.0 {}
    }
}

pub(super) async fn host(_with_ring: bool, _app: Box<dyn Application>, place: Place) -> io::Result<Outcome> {
    super::thread::fail(&place.ready, "this program is built without the feature `async`")
}
