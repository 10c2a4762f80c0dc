//! What an application raises: its traceback, and one line for the server's own log.
//!
//! A traceback stands behind what the application has written to `wsgi.errors`. An application that raises again and again
//! gets only so many a second, so that the first are not lost among the others; the rest are counted.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::diagnostics;
use crate::response::fault;

use super::errors::ErrorStream;

/// Writes the tracebacks of one thread's applications.
#[derive(Clone)]
pub(super) struct Reporter {
    errors: Arc<Py<ErrorStream>>,
    allowance: Arc<Mutex<Allowance>>,
}

/// Tracebacks of a second.
struct Allowance {
    began: Instant,
    count: u64,
}

impl Reporter {
    pub(super) fn new(errors: Arc<Py<ErrorStream>>) -> Reporter {
        Reporter { errors, allowance: Arc::new(Mutex::new(Allowance { began: Instant::now(), count: 0 })) }
    }

    /// Writes the traceback of `error`. One that cannot be formatted is named in a line.
    pub(super) fn report(&self, py: Python<'_>, error: &PyErr) {
        let (is_allowed, left_out) = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take();
        if left_out > 0 {
            diagnostics::error(format_args!("ringway: {left_out} more tracebacks were left out"));
        }
        if is_allowed {
            self.errors.bind(py).get().flush();
            diagnostics::traceback(&traceback(py, error).unwrap_or_else(|_| format!("{error}\n")));
        }
    }
}

impl Allowance {
    /// Answers whether there is one left in this second, and how many there were too many in the one before.
    fn take(&mut self) -> (bool, u64) {
        let mut left_out = 0;
        if self.began.elapsed() >= Duration::from_secs(1) {
            left_out = self.count.saturating_sub(diagnostics::fault_count_max());
            *self = Allowance { began: Instant::now(), count: 0 };
        }
        self.count += 1;
        (self.count <= diagnostics::fault_count_max(), left_out)
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
