//! Things to be awaited, and things that count how often they are dropped.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

/// Awaited until it is given, as often as it is given.
#[derive(Clone, Default)]
pub struct Signal(Rc<RefCell<(usize, Vec<Waker>)>>);

/// Counts those that are alive.
#[derive(Clone, Default)]
pub struct Census(Arc<AtomicUsize>);

/// One of them.
pub struct Alive(Census);

impl Signal {
    /// Lets one go that awaits, or will.
    pub fn give(&self) {
        let mut state = self.0.borrow_mut();
        state.0 += 1;
        state.1.drain(..).for_each(Waker::wake);
    }

    /// Awaits its turn.
    pub async fn taken(&self) {
        poll_fn(|context| {
            let mut state = self.0.borrow_mut();
            if state.0 > 0 {
                state.0 -= 1;
                return Poll::Ready(());
            }
            state.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Census {
    /// One more.
    pub fn enter(&self) -> Alive {
        self.0.fetch_add(1, Ordering::AcqRel);
        Alive(self.clone())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}
