//! What an application raises: its traceback to `wsgi.errors`, and one line for the server's own log.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::response::fault;

use super::errors::ErrorStream;

/// Writes tracebacks where the application's other errors go.
#[derive(Clone)]
pub(super) struct Reporter {
    pub(super) errors: Arc<Py<ErrorStream>>,
}

impl Reporter {
    /// Writes the traceback of `error`. One that cannot be formatted is named in a line.
    pub(super) fn report(&self, py: Python<'_>, error: &PyErr) {
        let text = traceback(py, error).unwrap_or_else(|_| format!("{error}\n"));
        let errors = self.errors.bind(py).get();
        let written = errors.write(&PyString::new(py, &text));
        if written.is_ok() {
            errors.flush();
        }
    }
}

/// The traceback as Python prints it.
pub(super) fn traceback(py: Python<'_>, error: &PyErr) -> PyResult<String> {
    let lines = py
        .import("traceback")?
        .call_method1("format_exception", (error.get_type(py), error.value(py), error.traceback(py)))?;
    let lines: Vec<String> = lines.extract()?;
    Ok(lines.concat())
}

/// `ValueError: what was wrong`.
pub(super) fn one_line(py: Python<'_>, error: &PyErr) -> String {
    let kind = error.get_type(py).name().map_or_else(|_| "an exception".to_string(), |name| name.to_string());
    let text = error.value(py).str().map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    fault::one_line(&if text.is_empty() { kind } else { format!("{kind}: {text}") })
}
