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

    /// Ready when the service is and the request `number` is the first of those that wait. It is to be called then, before
    /// anything else is asked of it.
    ///
    /// # Errors
    /// What `poll_ready` says; the request no longer waits.
    pub(super) fn poll_ready<R>(&self, number: u64, context: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<R>,
    {
        if self.waiting.borrow().front().is_some_and(|(first, _)| *first != number) {
            self.wait(number, context);
            return Poll::Pending;
        }
        let polled = self.service.borrow_mut().poll_ready(context);
        match &polled {
            Poll::Pending => self.wait(number, context),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.leave(number),
        }
        polled
    }

    /// Calls the service for the request `number`, for which it is ready.
    pub(super) fn call<R>(&self, number: u64, request: R) -> S::Future
    where
        S: Service<R>,
    {
        let future = self.service.borrow_mut().call(request);
        self.leave(number);
        future
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
