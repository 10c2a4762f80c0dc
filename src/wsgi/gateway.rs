//! One call of a Python application: its environ, what it returned, and the response that comes of it.
//!
//! The head is kept until there is a byte to follow it, so the iterable is asked for its first block here: a
//! generator calls `start_response` only then (PEP 3333, "The start_response() Callable").

use std::io;
use std::sync::Arc;

use pyo3::exceptions::PyAssertionError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};

use crate::buffer::FileRange;
use crate::environ::Environ;
use crate::response::stream::{Pulled, Room, Stream, blocks};
use crate::response::{Prepared, Responded, StartResponse};

use super::body::{Blocks, Closer, LENT_SIZE_MIN, Lent, WholeFile, next_block};
use super::environ::{Concurrency, Template};
use super::errors::ErrorStream;
use super::faults::{Reporter, one_line};
use super::file_wrapper::FileWrapper;
use super::start::{Desk, Reply, Stage};

/// What a thread keeps for its calls.
pub(super) struct Gateway {
    callable: Arc<Py<PyAny>>,
    template: Template,
    reporter: Reporter,
    /// Used again for the next request, unless the application has kept it.
    desk: Option<Desk>,
}

/// What an application returned.
enum Body<'py> {
    /// No byte.
    Empty,
    /// One block that is the whole body, because the iterable has just this one and no `close()`.
    Whole(Bound<'py, PyBytes>),
    /// A file to be sent as it lies.
    File(FileRange),
    /// Blocks: the first, where the others come from, and whether `len()` says that there are none.
    Blocks { first: Option<Bound<'py, PyBytes>>, iterator: Bound<'py, PyIterator>, is_only: bool },
}

impl Gateway {
    pub(super) fn new(py: Python<'_>, callable: &Arc<Py<PyAny>>, concurrency: Concurrency) -> PyResult<Gateway> {
        let errors = Arc::new(Py::new(py, ErrorStream::default())?);
        let template = Template::new(py, &errors, concurrency)?;
        Ok(Gateway { callable: callable.clone(), template, reporter: Reporter::new(errors), desk: None })
    }

    pub(super) fn call<'r>(
        &mut self,
        py: Python<'_>,
        environ: &Environ<'_>,
        start_response: StartResponse<'r>,
    ) -> Responded<'r> {
        let desk = match self.desk.take().map_or_else(|| Desk::new(py), Ok) {
            Ok(desk) => desk,
            Err(error) => return self.fail(py, start_response, &error),
        };
        let mut reply = Reply::Waiting(start_response);
        let returned = desk.lend(py, &mut reply, || {
            let environ = self.template.fill(py, environ)?;
            let arguments = [environ.as_ptr(), desk.start_response().as_ptr()];
            // SAFETY: both are references that live through the call; the result is a new one, or null with an
            // exception set.
            unsafe {
                let callable = self.callable.as_ptr();
                let result = ffi::PyObject_Vectorcall(callable, arguments.as_ptr(), 2, std::ptr::null_mut());
                Bound::from_owned_ptr_or_err(py, result)
            }
        });
        let responded = match returned {
            Ok(iterable) => self.respond(py, &desk, iterable, reply),
            Err(error) => self.abort(py, reply, &error),
        };
        if desk.reuse(py) {
            self.desk = Some(desk);
        }
        responded
    }

    fn respond<'r>(&self, py: Python<'_>, desk: &Desk, iterable: Bound<'_, PyAny>, reply: Reply<'r>) -> Responded<'r> {
        let mut closer = Closer::new(iterable, self.reporter.clone());
        let is_written = matches!(reply, Reply::Writing(_));
        let body = first_of(py, &mut closer, is_written).and_then(|body| match desk.state(py).stage {
            Stage::Fresh => Err(PyAssertionError::new_err("the application returned without calling start_response")),
            Stage::Started | Stage::Sent => Ok(body),
        });
        let body = match body {
            Ok(body) => body,
            Err(error) => return self.abort(py, reply, &error),
        };
        let (mut prepared, surplus) = {
            let mut state = desk.state(py);
            state.stage = Stage::Sent;
            (std::mem::take(&mut state.prepared), std::mem::take(&mut state.surplus))
        };
        // The state is not locked from here on: `close()` is the application's, and may call its `start_response`.
        match reply {
            Reply::Waiting(start_response) => {
                let responded = send(py, &mut prepared, body, closer, start_response);
                desk.state(py).prepared = prepared;
                responded
            }
            Reply::Writing(writer) => {
                let (first, iterator) = match body {
                    Body::Empty | Body::File(_) => (None, None),
                    Body::Whole(first) => (Some(first), None),
                    Body::Blocks { first, iterator, .. } => (first, Some(iterator)),
                };
                writer.stream(|rest| Blocks::new([rest, surplus].concat(), first, iterator, closer))
            }
            Reply::Taken => unreachable!("a reply is taken only to be written"),
        }
    }

    /// An application that raised after it had written gets its connection closed behind those bytes.
    fn abort<'r>(&self, py: Python<'_>, reply: Reply<'r>, error: &PyErr) -> Responded<'r> {
        match reply {
            Reply::Waiting(start_response) => self.fail(py, start_response, error),
            Reply::Writing(writer) => {
                self.reporter.report(py, error);
                let failure = Some(io::Error::other(one_line(py, error)));
                writer.stream(|written| Broken { written, taken_size: 0, failure })
            }
            Reply::Taken => unreachable!("a reply is taken only to be written"),
        }
    }

    fn fail<'r>(&self, py: Python<'_>, start_response: StartResponse<'r>, error: &PyErr) -> Responded<'r> {
        self.reporter.report(py, error);
        start_response.fail(one_line(py, error))
    }
}

/// Asks for what must be known before the head is sent. Behind written bytes a file is iterated like anything else.
fn first_of<'py>(py: Python<'py>, closer: &mut Closer, is_written: bool) -> PyResult<Body<'py>> {
    let Some(iterable) = closer.iterable(py) else { return Ok(Body::Empty) };
    match few(&iterable) {
        Few::None => {
            closer.forget();
            return Ok(Body::Empty);
        }
        Few::One(only) => {
            if let Ok(bytes) = only.cast_into_exact::<PyBytes>() {
                closer.forget();
                return Ok(Body::Whole(bytes));
            }
        }
        Few::Other => {}
    }
    if !is_written
        && let Ok(wrapper) = iterable.cast_exact::<FileWrapper>()
        && let Some(range) = wrapper.get().range(py)?
    {
        return Ok(Body::File(range));
    }
    // A `len()` that fails says nothing (PEP 3333, "Handling the Content-Length Header").
    let is_only = has_length(&iterable) && iterable.len().is_ok_and(|count| count == 1);
    let mut iterator = iterable.try_iter()?;
    Ok(match next_block(&mut iterator)? {
        None => Body::Empty,
        first => Body::Blocks { first, iterator, is_only },
    })
}

/// Whether `len()` can be asked for. To look for the attribute would make an exception where there is none.
fn has_length(iterable: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the type of a living object is alive, and so are the tables that it points to, if any.
    unsafe {
        let kind = &*iterable.get_type_ptr();
        kind.tp_as_sequence.as_ref().is_some_and(|methods| methods.sq_length.is_some())
            || kind.tp_as_mapping.as_ref().is_some_and(|methods| methods.mp_length.is_some())
    }
}

/// What is in an exact list or tuple, neither of which has a `close()`.
enum Few<'py> {
    None,
    One(Bound<'py, PyAny>),
    /// More items, or another iterable.
    Other,
}

fn few<'py>(iterable: &Bound<'py, PyAny>) -> Few<'py> {
    if let Ok(list) = iterable.cast_exact::<PyList>() {
        few_of(list.len(), || list.get_item(0))
    } else if let Ok(tuple) = iterable.cast_exact::<PyTuple>() {
        few_of(tuple.len(), || tuple.get_item(0))
    } else {
        Few::Other
    }
}

fn few_of<'py>(count: usize, first: impl FnOnce() -> PyResult<Bound<'py, PyAny>>) -> Few<'py> {
    match count {
        0 => Few::None,
        1 => first().map_or(Few::Other, Few::One),
        _ => Few::Other,
    }
}

fn send<'r>(
    py: Python<'_>,
    prepared: &mut Prepared,
    body: Body<'_>,
    mut closer: Closer,
    start_response: StartResponse<'r>,
) -> Responded<'r> {
    if start_response.is_head() || prepared.status().forbids_content() {
        closer.close(py);
        return send_head(prepared, &body, start_response);
    }
    let declared = prepared.declared_size();
    match body {
        Body::Empty if declared.unwrap_or(0) == 0 => {
            closer.close(py);
            start_response.start_prepared(prepared).empty()
        }
        // Less than was declared.
        Body::Empty => start_response.start_prepared(prepared).stream(Blocks::new(Vec::new(), None, None, closer)),
        Body::Whole(bytes) if declared.is_none_or(|size| size == block_size(&bytes)) => {
            let headers = start_response.start_prepared(prepared);
            if bytes.as_bytes().len() < LENT_SIZE_MIN {
                headers.body(bytes.as_bytes())
            } else {
                headers.body_owned(Lent::new(&bytes))
            }
        }
        Body::Whole(first) => {
            start_response.start_prepared(prepared).stream(Blocks::new(Vec::new(), Some(first), None, closer))
        }
        Body::File(range) => {
            prepared.declare(range.size);
            start_response.start_prepared(prepared).stream(WholeFile::new(range, closer))
        }
        Body::Blocks { first, iterator, is_only } => {
            if let Some(first) = first.as_ref().filter(|_| is_only) {
                prepared.declare(block_size(first));
            }
            start_response.start_prepared(prepared).stream(Blocks::new(Vec::new(), first, Some(iterator), closer))
        }
    }
}

/// The head of a response that has no body: with the length that its body would have, where that is known.
fn send_head<'r>(prepared: &mut Prepared, body: &Body<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let has_no_content = prepared.status().forbids_content();
    let known = match body {
        // The length that a 304 may have is that of the 200 (RFC 9110 §8.6), which nobody has said; a 205 has no body
        // for any method (§15.3.6), so its length is not that of what was returned.
        _ if has_no_content => None,
        Body::Empty => Some(0),
        Body::Whole(bytes) => Some(block_size(bytes)),
        Body::File(range) => Some(range.size),
        Body::Blocks { first, is_only, .. } => first.as_ref().filter(|_| *is_only).map(block_size),
    };
    if let Some(size) = known {
        prepared.declare(size);
    }
    let is_known = prepared.declared_size().is_some();
    let headers = start_response.start_prepared(prepared);
    if is_known || has_no_content { headers.empty() } else { headers.stream(blocks([b""; 0])) }
}

fn block_size(bytes: &Bound<'_, PyBytes>) -> u64 {
    bytes.as_bytes().len() as u64
}

/// Written bytes whose response failed behind them.
struct Broken {
    written: Vec<u8>,
    taken_size: usize,
    failure: Option<io::Error>,
}

impl Stream for Broken {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        let rest = &self.written[self.taken_size..];
        if rest.is_empty() {
            return match self.failure.take() {
                Some(failure) => Err(failure),
                None => Ok(Pulled::End),
            };
        }
        self.taken_size += room.put(rest);
        Ok(Pulled::More)
    }
}
