//! `start_response` and the `write` that it returns (PEP 3333, "The start_response() Callable").
//!
//! Both are built-in functions of Python, bound to a [`Call`]: they are called by vectorcall and build no argument
//! tuple. What the application said is checked at once, so that a fault is raised where it was made, and kept until
//! the head is sent. A [`Call`] that the application has let go of is used again for the next request.

use std::ffi::c_char;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::response::writer::Writer;
use crate::response::{Prepared, StartResponse};

/// One request's side of the two functions.
#[pyclass(frozen, name = "Call", module = "ringway")]
pub(super) struct Call {
    state: Mutex<State>,
    /// Told when a loan comes back.
    returned: Condvar,
}

/// How far a response has come.
#[derive(Default)]
pub(super) struct State {
    pub(super) stage: Stage,
    pub(super) prepared: Prepared,
    /// The first byte that `write` was given past the declared length: one is enough to show that the body is too long.
    pub(super) surplus: Vec<u8>,
    /// The reply of the call under way, which a `write` borrows. `None` when there is no call, or while another thread
    /// writes.
    loan: Option<Loan>,
}

/// The reply to a request while its application is called: not begun, or being written.
pub(super) enum Reply<'r> {
    Waiting(StartResponse<'r>),
    Writing(Writer<'r>),
    /// Between the two.
    Taken,
}

/// A reply on the stack of [`Desk::lend`], for as long as that runs.
struct Loan(NonNull<Reply<'static>>);

// SAFETY: what it points to may be used on any thread, and whoever takes the loan out of the state has it alone.
unsafe impl Send for Loan {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// `start_response` has not been called.
    #[default]
    Fresh,
    /// It has been, and the head is kept.
    Started,
    /// The head is on its way.
    Sent,
}

/// A [`Call`] with its `start_response`.
pub(super) struct Desk {
    call: Py<Call>,
    start_response: Py<PyAny>,
}

impl Desk {
    pub(super) fn new(py: Python<'_>) -> PyResult<Desk> {
        let call = Py::new(py, Call { state: Mutex::default(), returned: Condvar::new() })?;
        // SAFETY: the definition is static, and `call` is what its function expects to be bound to.
        let function = unsafe { ffi::PyCFunction_NewEx(START_RESPONSE.as_ptr(), call.as_ptr(), ptr::null_mut()) };
        // SAFETY: a new reference, or null with an exception set.
        let start_response = unsafe { Bound::from_owned_ptr_or_err(py, function)? }.unbind();
        Ok(Desk { call, start_response })
    }

    /// The `start_response` to call the application with.
    pub(super) fn start_response(&self) -> &Py<PyAny> {
        &self.start_response
    }

    pub(super) fn state<'p>(&'p self, py: Python<'p>) -> MutexGuard<'p, State> {
        self.call.bind(py).get().state()
    }

    /// Empties it for another request, if nobody else has it any more, and answers whether that is so.
    pub(super) fn reuse(&self, py: Python<'_>) -> bool {
        // SAFETY: both are objects that this desk holds. The call is held by its function as well.
        let is_alone =
            unsafe { ffi::Py_REFCNT(self.start_response.as_ptr()) == 1 && ffi::Py_REFCNT(self.call.as_ptr()) == 2 };
        if is_alone {
            let mut state = self.state(py);
            state.stage = Stage::Fresh;
            state.surplus.clear();
        }
        is_alone
    }

    /// Lets `write` use the reply while `act` runs.
    pub(super) fn lend<R>(&self, py: Python<'_>, reply: &mut Reply<'_>, act: impl FnOnce() -> R) -> R {
        let call = self.call.bind(py).get();
        call.state().loan = Some(Loan(NonNull::from(reply).cast()));
        // Also where `act` panics: the reply goes with this frame.
        let _end = LoanEnd { py, call };
        act()
    }
}

/// Takes a loan back when it is dropped.
struct LoanEnd<'p> {
    py: Python<'p>,
    call: &'p Call,
}

impl Drop for LoanEnd<'_> {
    fn drop(&mut self) {
        let LoanEnd { py, call } = self;
        // A thread of the application's own may be in the middle of a write, which ends within the write deadline.
        if call.state().loan.take().is_none() {
            py.detach(|| {
                let state = call.state();
                let state = call.returned.wait_while(state, |state| state.loan.is_none());
                state.unwrap_or_else(PoisonError::into_inner).loan = None;
            });
        }
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, py: Python<'_>, arguments: &[Bound<'_, PyAny>]) -> PyResult<()> {
        let (status, headers, exc_info) = match arguments {
            [status, headers] => (status, headers, None),
            [status, headers, exc_info] => (status, headers, Some(exc_info).filter(|exc_info| !exc_info.is_none())),
            _ => {
                let sentence = "start_response takes a status, a list of headers and perhaps exc_info";
                return Err(PyTypeError::new_err(sentence));
            }
        };
        let stage = self.state().stage;
        match (stage, exc_info) {
            (Stage::Started | Stage::Sent, None) => {
                return Err(PyAssertionError::new_err("start_response was called a second time without exc_info"));
            }
            // The head has gone, so the error is the application's again (PEP 3333, "Error Handling").
            (Stage::Sent, Some(exc_info)) => return Err(raised(py, exc_info)?),
            (Stage::Fresh, _) | (Stage::Started, Some(_)) => {}
        }
        let status = status
            .cast_exact::<PyString>()
            .map_err(|_| PyTypeError::new_err("the status given to start_response is no str"))?;
        let headers = headers
            .cast_exact::<PyList>()
            .map_err(|_| PyTypeError::new_err("the headers given to start_response are no list"))?;
        let mut state = self.state();
        let State { stage, prepared, .. } = &mut *state;
        *stage = Stage::Fresh;
        prepared.begin(latin1(status)?).map_err(|fault| PyValueError::new_err(fault.to_string()))?;
        for header in headers.iter() {
            let pair = header.cast_exact::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let pair = pair.ok_or_else(|| PyTypeError::new_err("a header is no tuple of a name and a value"))?;
            let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
            let (Ok(name), Ok(value)) = (name.cast_exact::<PyString>(), value.cast_exact::<PyString>()) else {
                return Err(PyTypeError::new_err("the name and the value of a header are to be str"));
            };
            let added = prepared.add(latin1(name)?, latin1(value)?);
            added.map_err(|fault| PyValueError::new_err(fault.to_string()))?;
        }
        *stage = Stage::Started;
        Ok(())
    }

    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let data = data.cast_exact::<PyBytes>().map_err(|_| PyTypeError::new_err("write takes bytes"))?;
        let mut state = self.state();
        if state.stage == Stage::Fresh {
            return Err(PyAssertionError::new_err("write was called before start_response had succeeded"));
        }
        let Some(loan) = state.loan.take() else {
            let sentence = "write was called when its application had returned, or by two threads at a time";
            return Err(PyRuntimeError::new_err(sentence));
        };
        // SAFETY: `lend` does not return before the loan is back, and this thread took it out of the state.
        let reply = unsafe { &mut *loan.0.as_ptr() };
        let _back = LoanBack { call: self, loan: Some(loan) };
        put(data, reply, state)
    }
}

/// Gives a loan back when it is dropped.
struct LoanBack<'c> {
    call: &'c Call,
    loan: Option<Loan>,
}

impl Drop for LoanBack<'_> {
    fn drop(&mut self) {
        self.call.state().loan = self.loan.take();
        self.call.returned.notify_all();
    }
}

/// Writes and, where the peer is slow, waits without the interpreter's lock.
fn put(data: &Bound<'_, PyBytes>, reply: &mut Reply<'static>, mut state: MutexGuard<'_, State>) -> PyResult<()> {
    let bytes = data.as_bytes();
    state.stage = Stage::Sent;
    let writer = reply.writer(&state.prepared)?;
    let size = writer.write(bytes)?;
    if size < bytes.len() && state.surplus.is_empty() {
        state.surplus.push(bytes[size]);
    }
    drop(state);
    if writer.must_wait() {
        data.py().detach(|| writer.wait())?;
    }
    Ok(())
}

impl<'r> Reply<'r> {
    /// The writer, which the first write makes.
    fn writer(&mut self, prepared: &Prepared) -> PyResult<&mut Writer<'r>> {
        if let Reply::Waiting(_) = self
            && let Reply::Waiting(start_response) = std::mem::replace(self, Reply::Taken)
        {
            *self = Reply::Writing(start_response.start_prepared(prepared).write());
        }
        match self {
            Reply::Writing(writer) => Ok(writer),
            Reply::Waiting(_) | Reply::Taken => Err(PyRuntimeError::new_err("the response has failed")),
        }
    }
}

/// The bytes of a str that has only latin-1 characters, as PEP 3333 wants them.
fn latin1<'s>(text: &'s Bound<'_, PyString>) -> PyResult<&'s [u8]> {
    // SAFETY: the object is a str, which these macros read; its bytes stay while it is borrowed, and a str of this
    // kind has one byte for each of its characters.
    unsafe {
        let object = text.as_ptr();
        if ffi::PyUnicode_KIND(object) == ffi::PyUnicode_1BYTE_KIND {
            let size = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or(0);
            return Ok(std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(object), size));
        }
    }
    Err(PyValueError::new_err("a status or header has a character that is not in latin-1"))
}

/// The exception of an `exc_info` triple, with its traceback.
fn raised(py: Python<'_>, exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let value = exc_info.get_item(1)?;
    let error = PyErr::from_value(value);
    if let Ok(traceback) = exc_info.get_item(2)
        && let Ok(traceback) = traceback.cast_into()
    {
        error.set_traceback(py, Some(traceback));
    }
    Ok(error)
}

/// Calls `act` with what a built-in function was given, and answers to Python as such a function does.
///
/// # Safety
/// `this` is a [`Call`], `arguments` are `count` borrowed references followed by the values of `names`, and the
/// thread holds the interpreter's lock: what Python promises of a function that a [`Desk`] has made.
unsafe fn answer(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
    act: impl FnOnce(Python<'_>, &Bound<'_, Call>, &[Bound<'_, PyAny>]) -> PyResult<Py<PyAny>>,
) -> *mut ffi::PyObject {
    // SAFETY: as the caller promises.
    let py = unsafe { Python::assume_attached() };
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: a borrowed reference to a `Call`, which only a desk binds to these functions.
        let this = unsafe { Bound::from_borrowed_ptr(py, this) }.cast_into::<Call>()?;
        let count = usize::try_from(count).unwrap_or(0) + keyword_count(py, names)?;
        let given: Vec<_> = (0..count)
            // SAFETY: there are so many borrowed references.
            .map(|index| unsafe { Bound::from_borrowed_ptr(py, *arguments.add(index)) })
            .collect();
        act(py, &this, &given)
    }));
    let result = result.unwrap_or_else(|_| Err(PyRuntimeError::new_err("start_response failed in the server")));
    match result {
        Ok(value) => value.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}

/// The one keyword that applications use is `exc_info`, which comes last in any case.
fn keyword_count(py: Python<'_>, names: *mut ffi::PyObject) -> PyResult<usize> {
    if names.is_null() {
        return Ok(0);
    }
    // SAFETY: a borrowed tuple of the keywords' names.
    let names = unsafe { Bound::from_borrowed_ptr(py, names) }.cast_into::<PyTuple>()?;
    match names.len() {
        1 if names.get_item(0)?.eq("exc_info")? => Ok(1),
        _ => Err(PyTypeError::new_err("start_response takes its arguments by position")),
    }
}

unsafe extern "C" fn start_response(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls this function as its definition says.
    unsafe {
        answer(this, arguments, count, names, |py, call, given| {
            call.get().start(py, given)?;
            // SAFETY: the definition is static, and a `Call` is what its function expects to be bound to.
            let write = ffi::PyCFunction_NewEx(WRITE.as_ptr(), call.as_ptr(), ptr::null_mut());
            // SAFETY: a new reference, or null with an exception set.
            Bound::from_owned_ptr_or_err(py, write).map(Bound::unbind)
        })
    }
}

unsafe extern "C" fn write(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: Python calls this function as its definition says.
    unsafe {
        answer(this, arguments, count, names, |py, call, given| match given {
            [data] => call.get().write(data).map(|()| py.None()),
            _ => Err(PyTypeError::new_err("write takes one argument, the bytes")),
        })
    }
}

/// The static definition of a built-in function, which Python reads and never writes.
struct Definition(ffi::PyMethodDef);

// SAFETY: nothing in it changes.
unsafe impl Sync for Definition {}

impl Definition {
    const fn new(name: *const c_char, function: ffi::PyCFunctionFastWithKeywords) -> Definition {
        Definition(ffi::PyMethodDef {
            ml_name: name,
            ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: function },
            ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            ml_doc: ptr::null(),
        })
    }

    fn as_ptr(&self) -> *mut ffi::PyMethodDef {
        ptr::from_ref(&self.0).cast_mut()
    }
}

static START_RESPONSE: Definition = Definition::new(c"start_response".as_ptr(), start_response);
static WRITE: Definition = Definition::new(c"write".as_ptr(), write);
