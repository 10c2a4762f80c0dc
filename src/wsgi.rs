//! Python applications (PEP 3333) as applications of this server.
//!
//! A [`Callable`] is a Python application that has been imported; each worker makes an [`Application`] of it. The
//! call happens on the worker's own thread: no channel and no wake-up. The thread holds the interpreter's lock from its
//! first call on and lets go of it only while it waits; `attachment` is its hold. Beside an application that awaits the
//! thread waits in a runtime, which knows of no lock: there it is taken for each call. `interpreter` starts one in a program
//! that is not Python's own, and `load` finds the callable. `gateway` is one call: `environ` makes its dict, of strings
//! that `keep` has kept, with `input`, `errors` and `file_wrapper` as the objects in it; `start` is `start_response`,
//! `body` what the application returns, and `faults` what it raises.

#[cfg(Py_GIL_DISABLED)]
compile_error!("the feature wsgi needs an interpreter with its lock; PYO3_PYTHON names another one");

mod attachment;
mod body;
mod environ;
mod errors;
mod faults;
mod file_wrapper;
mod gateway;
mod input;
pub mod interpreter;
mod keep;
mod load;
mod start;

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::app::Application;
use crate::environ::Environ;
use crate::response::{Responded, StartResponse};

use attachment::Attachment;
pub use environ::Concurrency;
use gateway::Gateway;
pub use load::{LoadError, load};

/// An imported Python application.
#[derive(Clone)]
pub struct Callable {
    name: Arc<str>,
    object: Arc<Py<PyAny>>,
}

/// A Python application on one thread.
pub struct WsgiApplication {
    callable: Callable,
    concurrency: Concurrency,
    /// Made by the first call, on the thread that calls.
    gateway: RefCell<Option<Gateway>>,
    /// Dropped after the gateway, which needs the lock.
    attachment: OnceCell<Rc<Attachment>>,
}

impl Callable {
    /// The name that it was loaded by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An application for one thread.
    #[must_use]
    pub fn application(&self, concurrency: Concurrency) -> WsgiApplication {
        WsgiApplication {
            callable: self.clone(),
            concurrency,
            gateway: RefCell::new(None),
            attachment: OnceCell::new(),
        }
    }
}

impl Application for WsgiApplication {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        self.attachment.get_or_init(Attachment::of_this_thread);
        Python::attach(|py| {
            let mut slot = self.gateway.borrow_mut();
            let gateway = match &mut *slot {
                Some(gateway) => gateway,
                vacant => match Gateway::new(py, &self.callable.object, self.concurrency) {
                    Ok(made) => vacant.insert(made),
                    Err(error) => return start_response.fail(faults::one_line(py, &error)),
                },
            };
            gateway.call(py, environ, start_response)
        })
    }

    fn name<'s>(&'s self, _environ: &Environ<'_>) -> &'s str {
        &self.callable.name
    }

    fn holds_lock(&self) -> bool {
        self.attachment.get().is_some_and(|attachment| attachment.is_lasting())
    }

    fn let_wait(&self, wait: &mut dyn FnMut()) {
        match self.attachment.get() {
            Some(attachment) => attachment.let_wait(wait),
            None => wait(),
        }
    }
}

impl Drop for WsgiApplication {
    fn drop(&mut self) {
        if self.gateway.get_mut().is_some() {
            Python::attach(|_| drop(self.gateway.get_mut().take()));
        }
    }
}
