//! `wsgi.errors`: text for the operator, on standard error.
//!
//! Whole lines are written by one call each, so that those of several workers do not run into each other. Where nobody
//! reads them they are lost, after a moment in which the application waits, and the request goes on: who reads the
//! diagnostics must not be able to stop what is served.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::diagnostics;

/// The stream object. It keeps what does not end a line yet.
#[pyclass(frozen, name = "Errors", module = "ringway")]
#[derive(Default)]
pub(super) struct ErrorStream {
    rest: Mutex<Vec<u8>>,
}

#[pymethods]
impl ErrorStream {
    pub(super) fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        // Lone surrogates have no encoding; they are replaced rather than refused: a log line is better than none.
        rest.extend_from_slice(text.to_string_lossy().as_bytes());
        if let Some(end) = memchr::memrchr(b'\n', &rest) {
            diagnostics::relay(&rest[..=end]);
            rest.drain(..=end);
        }
        text.len()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(line?.cast::<PyString>()?)?;
        }
        Ok(())
    }

    pub(super) fn flush(&self) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        diagnostics::relay(&rest);
        rest.clear();
    }
}
