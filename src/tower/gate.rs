//! A service and who waits for it to be ready, in their order.
//!
//! `poll_ready` remembers one waker. So of several requests only the first polls it, and wakes the next when it has called.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use tower_service::Service;

/// The service of one worker.
pub(super) struct Gate<S> {
    service: RefCell<S>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
    count: Cell<u64>,
}

impl<S> Gate<S> {
    pub(super) fn new(service: S) -> Gate<S> {
        Gate { service: RefCell::new(service), waiting: RefCell::default(), count: Cell::new(0) }
    }

    /// A number that no other request has.
    pub(super) fn number(&self) -> u64 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// Calls the service when it is ready and the request `number` is the first of those that wait. `request` is taken then.
    ///
    /// # Errors
    /// What `poll_ready` says.
    pub(super) fn poll_call<R>(
        &self,
        number: u64,
        request: &mut Option<R>,
        context: &mut Context<'_>,
    ) -> Poll<Result<S::Future, S::Error>>
    where
        S: Service<R>,
    {
        if self.waiting.borrow().front().is_some_and(|(first, _)| *first != number) {
            self.wait(number, context);
            return Poll::Pending;
        }
        let mut service = self.service.borrow_mut();
        let called = match service.poll_ready(context) {
            Poll::Pending => {
                self.wait(number, context);
                return Poll::Pending;
            }
            Poll::Ready(Ok(())) => Ok(service.call(request.take().expect("a request is called once"))),
            Poll::Ready(Err(error)) => Err(error),
        };
        drop(service);
        self.leave(number);
        Poll::Ready(called)
    }

    /// The request no longer waits; the next one may be the first now.
    pub(super) fn leave(&self, number: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let Some(place) = waiting.iter().position(|(other, _)| *other == number) else { return };
        waiting.remove(place);
        let next = waiting.front().filter(|_| place == 0).map(|(_, waker)| waker.clone());
        drop(waiting);
        if let Some(next) = next {
            next.wake();
        }
    }

    fn wait(&self, number: u64, context: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter_mut().find(|(other, _)| *other == number) {
            Some((_, waker)) => waker.clone_from(context.waker()),
            None => waiting.push_back((number, context.waker().clone())),
        }
    }
}
