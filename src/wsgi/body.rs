//! The iterable that an application returns (PEP 3333, "Buffering and Streaming").
//!
//! Its blocks are asked for when there is room for them, one on its way before the next. Its `close()` is called
//! once, however the response ends.

use std::io;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyType};

use crate::buffer::{FileRange, Payload};
use crate::response::stream::{Pulled, Room, Stream};

use super::faults::{Reporter, one_line};

/// Calls `close()` of what the application returned, once.
pub(super) struct Closer {
    iterable: Option<Py<PyAny>>,
    reporter: Reporter,
}

impl Closer {
    pub(super) fn new(iterable: Bound<'_, PyAny>, reporter: Reporter) -> Closer {
        Closer { iterable: Some(iterable.unbind()), reporter }
    }

    /// For an iterable that has no `close()`.
    pub(super) fn forget(&mut self) {
        self.iterable = None;
    }

    pub(super) fn iterable<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.iterable.as_ref().map(|iterable| iterable.bind(py).clone())
    }

    /// An error in it is reported and changes nothing of the response.
    pub(super) fn close(&mut self, py: Python<'_>) {
        let Some(iterable) = self.iterable.take() else { return };
        let closed = iterable.bind(py).getattr_opt(intern!(py, "close")).and_then(|close| match close {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        });
        if let Err(error) = closed {
            self.reporter.report(py, &error);
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        if self.iterable.is_some() {
            Python::attach(|py| self.close(py));
        }
    }
}

/// The next block that is not empty, `None` at the end.
pub(super) fn next_block<'py>(iterator: &mut Bound<'py, PyIterator>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    loop {
        match next_of(iterator)? {
            Some(block) if block.as_bytes().is_empty() => {}
            next => return Ok(next),
        }
    }
}

/// The next block, `None` at the end.
fn next_of<'py>(iterator: &mut Bound<'py, PyIterator>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let Some(block) = iterator.next().transpose()? else { return Ok(None) };
    block.cast_into_exact::<PyBytes>().map(Some).map_err(|error| {
        let kind = error.into_inner().get_type();
        PyTypeError::new_err(format!("the iterable gave {}, where bytes are needed", class_name(&kind)))
    })
}

fn class_name(kind: &Bound<'_, PyType>) -> String {
    kind.name().map_or_else(|_| "an object".into(), |name| name.to_string())
}

/// The blocks of an iterable as the server's stream.
pub(super) struct Blocks {
    /// What came before the first block of the iterable: bytes that were written, or nothing.
    written: Vec<u8>,
    block: Option<Py<PyBytes>>,
    /// Bytes of `written`, then of `block`, that have been taken.
    taken_size: usize,
    iterator: Option<Py<PyIterator>>,
    closer: Closer,
}

impl Blocks {
    pub(super) fn new(
        written: Vec<u8>,
        block: Option<Bound<'_, PyBytes>>,
        iterator: Option<Bound<'_, PyIterator>>,
        closer: Closer,
    ) -> Blocks {
        let (block, iterator) = (block.map(Bound::unbind), iterator.map(Bound::unbind));
        Blocks { written, block, taken_size: 0, iterator, closer }
    }

    fn pull_attached(&mut self, py: Python<'_>, room: &mut Room<'_>) -> io::Result<Pulled> {
        if !self.written.is_empty() {
            self.taken_size += room.put(&self.written[self.taken_size..]);
            if self.taken_size == self.written.len() {
                self.written = Vec::new();
                self.taken_size = 0;
            }
            return Ok(Pulled::More);
        }
        if self.block.is_none()
            && let Some(iterator) = &self.iterator
        {
            let next = next_of(&mut iterator.bind(py).clone()).map_err(|error| self.fail(py, &error))?;
            if next.as_ref().is_some_and(|block| block.as_bytes().is_empty()) {
                // The others have their turn meanwhile, and a peer that has gone is noticed.
                return Ok(Pulled::More);
            }
            self.block = next.map(Bound::unbind);
        }
        let Some(block) = &self.block else {
            self.closer.close(py);
            return Ok(Pulled::End);
        };
        let bytes = block.as_bytes(py);
        if self.taken_size == 0 && bytes.len() >= LENT_SIZE_MIN {
            room.lend(Payload::Owned(Box::new(Lent::new(block.bind(py)))));
            self.block = None;
            return Ok(Pulled::More);
        }
        self.taken_size += room.put(&bytes[self.taken_size..]);
        if self.taken_size == bytes.len() {
            self.block = None;
            self.taken_size = 0;
        }
        Ok(Pulled::More)
    }

    fn fail(&self, py: Python<'_>, error: &PyErr) -> io::Error {
        self.closer.reporter.report(py, error);
        io::Error::other(one_line(py, error))
    }
}

impl Stream for Blocks {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        Python::attach(|py| self.pull_attached(py, room))
    }
}

/// A file that is sent as it lies; the `close()` of its iterable is called when the kernel has taken it.
pub(super) struct WholeFile {
    range: Option<FileRange>,
    closer: Closer,
}

impl WholeFile {
    pub(super) fn new(range: FileRange, closer: Closer) -> WholeFile {
        WholeFile { range: Some(range), closer }
    }
}

impl Stream for WholeFile {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        if let Some(range) = self.range.take() {
            room.lend(Payload::File(range));
            return Ok(Pulled::More);
        }
        Python::attach(|py| self.closer.close(py));
        Ok(Pulled::End)
    }
}

/// A `bytes` object that is sent from where it lies.
pub(super) struct Lent {
    /// Held for its memory; let go of when the kernel has taken it.
    object: Option<Py<PyBytes>>,
    address: *const u8,
    size: usize,
}

impl Lent {
    pub(super) fn new(bytes: &Bound<'_, PyBytes>) -> Lent {
        let slice = bytes.as_bytes();
        Lent { object: Some(bytes.clone().unbind()), address: slice.as_ptr(), size: slice.len() }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: a `bytes` object never changes or moves its memory, and this one is held.
        unsafe { std::slice::from_raw_parts(self.address, self.size) }
    }
}

impl Drop for Lent {
    /// Lets go at once where this thread has the interpreter's lock. Else whoever takes it next does.
    fn drop(&mut self) {
        // SAFETY: may be called on any thread.
        if unsafe { ffi::PyGILState_Check() } == 1 {
            Python::attach(|_| drop(self.object.take()));
        }
    }
}

// SAFETY: the memory is only read, and a reference may be let go of on any thread.
unsafe impl Send for Lent {}

/// From this many bytes on, a block is sent from where it lies; as `Headers::body_owned` decides it.
pub(super) const LENT_SIZE_MIN: usize = 8 * 1024;
