//! `wsgi.input`: a request's body as a file (PEP 3333, "Input and Error Streams").
//!
//! A body in memory becomes one `bytes` object, which `read()` gives away as it is; one that was spooled is read
//! from its file. Every byte that comes out is in an exact `bytes`, and past the end comes `b''` for ever.

use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::buffer::FileRange;
use crate::environ::Input;

/// The stream object.
#[pyclass(frozen, name = "Input", module = "ringway")]
pub(super) struct InputStream {
    state: Mutex<State>,
}

struct State {
    body: Body,
    position: u64,
}

enum Body {
    Memory(Py<PyBytes>),
    File(FileRange),
}

impl InputStream {
    pub(super) fn new(py: Python<'_>, input: Input<'_>) -> InputStream {
        InputStream { state: Mutex::new(State { body: Body::of(py, input), position: 0 }) }
    }

    /// Begins again with another body. Nobody else has the object.
    pub(super) fn begin(&self, py: Python<'_>, input: Input<'_>) {
        let body = Body::of(py, input);
        *self.state() = State { body, position: 0 };
    }

    /// Without a wait: whoever holds it holds the interpreter's lock as well.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl InputStream {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.state().read(py, limit(size))
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.state().read_line(py, limit(size))
    }

    /// Lines until the body's end, or until they have `hint` bytes in all.
    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let enough = match hint {
            Some(hint) if hint > 0 => usize::try_from(hint).unwrap_or(usize::MAX),
            Some(_) | None => usize::MAX,
        };
        let lines = PyList::empty(py);
        let mut size = 0;
        while size < enough {
            let line = self.readline(py, None)?;
            if line.as_bytes().is_empty() {
                break;
            }
            size += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.readline(py, None)?;
        Ok(Some(line).filter(|line| !line.as_bytes().is_empty()))
    }

    /// The server closes what it has opened; an application that does so loses nothing.
    fn close(&self) {}
}

impl Body {
    fn of(py: Python<'_>, input: Input<'_>) -> Body {
        match input.file() {
            Some(range) => Body::File(range),
            None => Body::Memory(PyBytes::new(py, input.bytes()).unbind()),
        }
    }
}

impl State {
    fn rest_size(&self, py: Python<'_>) -> u64 {
        let size = match &self.body {
            Body::Memory(bytes) => bytes.as_bytes(py).len() as u64,
            Body::File(range) => range.size,
        };
        size - self.position
    }

    fn read<'py>(&mut self, py: Python<'py>, limit: u64) -> PyResult<Bound<'py, PyBytes>> {
        let size = self.rest_size(py).min(limit);
        if let Body::Memory(bytes) = &self.body
            && self.position == 0
            && size == bytes.as_bytes(py).len() as u64
        {
            self.position = size;
            return Ok(bytes.bind(py).clone());
        }
        self.take(py, size)
    }

    fn read_line<'py>(&mut self, py: Python<'py>, limit: u64) -> PyResult<Bound<'py, PyBytes>> {
        let rest_size = self.rest_size(py).min(limit);
        let size = match &self.body {
            Body::Memory(bytes) => {
                let rest = &bytes.as_bytes(py)[to_size(self.position)..][..to_size(rest_size)];
                memchr::memchr(b'\n', rest).map_or(rest_size, |index| index as u64 + 1)
            }
            Body::File(range) => line_size(range, self.position, rest_size)?,
        };
        self.take(py, size)
    }

    /// The next `size` bytes, which are there.
    fn take<'py>(&mut self, py: Python<'py>, size: u64) -> PyResult<Bound<'py, PyBytes>> {
        let taken = match &self.body {
            Body::Memory(bytes) => PyBytes::new(py, &bytes.as_bytes(py)[to_size(self.position)..][..to_size(size)]),
            Body::File(range) => PyBytes::new_with(py, to_size(size), |bytes| read_at(range, self.position, bytes))?,
        };
        self.position += size;
        Ok(taken)
    }
}

/// Bytes from `position` to the end of its line, at most `size_max`.
fn line_size(range: &FileRange, position: u64, size_max: u64) -> PyResult<u64> {
    let mut piece = [0; 4096];
    let mut size = 0;
    while size < size_max {
        let wanted = to_size(size_max - size).min(piece.len());
        let bytes = &mut piece[..wanted];
        read_at(range, position + size, bytes)?;
        if let Some(index) = memchr::memchr(b'\n', bytes) {
            return Ok(size + index as u64 + 1);
        }
        size += wanted as u64;
    }
    Ok(size_max)
}

/// Fills `bytes` from the file.
fn read_at(range: &FileRange, position: u64, bytes: &mut [u8]) -> PyResult<()> {
    let read = range.file.read_exact_at(bytes, range.offset + position);
    read.map_err(|error| PyOSError::new_err(format!("the spooled body cannot be read: {error}")))
}

/// How many bytes at most: all of them without a size, or with a negative one.
fn limit(size: Option<isize>) -> u64 {
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(u64::MAX)
}

fn to_size(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
