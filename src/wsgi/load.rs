//! From `module:callable` to a Python application.
//!
//! The callable may be dotted (`shop.wsgi:site.app`), a factory with literal arguments (`shop:create_app("test")`), or
//! left out, when it is `application` or else `app`.

use std::sync::Arc;

use pyo3::exceptions::{PyModuleNotFoundError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::Callable;
use super::faults::{one_line, traceback};

/// Why an application could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// There is no module of this name; nothing of it was run.
    NoModule(String),
    /// Anything else: the last lines of a traceback, which may be none, and a sentence.
    Failed {
        /// Lines of the traceback.
        traceback: Vec<String>,
        /// The sentence.
        sentence: String,
    },
}

/// Imports the application that `name` names. The interpreter runs.
///
/// # Errors
/// What the operator is to be told.
pub fn load(name: &str) -> Result<Callable, LoadError> {
    let (module, callable) = name.split_once(':').map_or((name, None), |(module, callable)| (module, Some(callable)));
    if !module.split('.').all(is_identifier) {
        return Err(sentence(format!("`{module}` is no name of a Python module; write module:callable")));
    }
    Python::attach(|py| {
        let imported = py.import(module).map_err(|error| import_error(py, module, &error))?;
        let object = match callable {
            None => ["application", "app"]
                .iter()
                .find_map(|default| imported.getattr_opt(default).ok().flatten())
                .ok_or_else(|| sentence(format!("the module `{module}` has neither `application` nor `app`")))?,
            Some(expression) => resolve(py, module, imported.as_any(), expression)?,
        };
        if !object.is_callable() {
            return Err(sentence(format!("`{name}` is not callable, so it is no application")));
        }
        Ok(Callable { name: name.into(), object: Arc::new(object.unbind()) })
    })
}

fn resolve<'py>(
    py: Python<'py>,
    module: &str,
    imported: &Bound<'py, PyAny>,
    expression: &str,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let (path, arguments) = match expression.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        Some((path, arguments)) => (path, Some(arguments)),
        None => (expression, None),
    };
    let mut object = imported.clone();
    for part in path.split('.') {
        if !is_identifier(part) {
            return Err(sentence(format!("`{expression}` is no name of a callable, nor a call of one")));
        }
        object = match object.getattr_opt(part) {
            Ok(Some(attribute)) => attribute,
            Ok(None) => return Err(sentence(format!("the module `{module}` has no `{path}`"))),
            Err(error) => return Err(failed(py, format!("`{module}:{path}` cannot be read"), &error)),
        };
    }
    let Some(arguments) = arguments else { return Ok(object) };
    let arguments = literals(py, arguments).map_err(|_| {
        sentence(format!("the arguments of `{expression}` are no Python literals; a factory takes only those"))
    })?;
    object.call1(arguments).map_err(|error| failed(py, format!("the factory `{module}:{expression}` failed"), &error))
}

fn literals<'py>(py: Python<'py>, arguments: &str) -> PyResult<Bound<'py, PyTuple>> {
    if arguments.trim().is_empty() {
        return Ok(PyTuple::empty(py));
    }
    let tuple = py.import("ast")?.call_method1("literal_eval", (format!("({arguments},)"),))?;
    tuple.cast_into().map_err(|_| PyTypeError::new_err("no tuple"))
}

/// A module that is not there is one thing, one that fails while it is run another.
fn import_error(py: Python<'_>, module: &str, error: &PyErr) -> LoadError {
    let missing = error.value(py).getattr("name").and_then(|name| name.extract::<String>()).unwrap_or_default();
    let is_not_there = error.is_instance_of::<PyModuleNotFoundError>(py)
        && (missing == module || module.starts_with(&format!("{missing}.")));
    if is_not_there && !missing.is_empty() {
        return LoadError::NoModule(missing);
    }
    failed(py, format!("cannot import `{module}`"), error)
}

fn failed(py: Python<'_>, what: String, error: &PyErr) -> LoadError {
    let text = traceback(py, error).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(String::from).collect();
    let start = lines.len().saturating_sub(TRACEBACK_LINE_COUNT_MAX);
    LoadError::Failed { traceback: lines[start..].to_vec(), sentence: format!("{what}: {}", one_line(py, error)) }
}

fn sentence(sentence: String) -> LoadError {
    LoadError::Failed { traceback: Vec::new(), sentence }
}

fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && characters.all(|character| character.is_alphanumeric() || character == '_')
}

/// The last lines of a traceback are told: what failed stands at its end.
const TRACEBACK_LINE_COUNT_MAX: usize = 12;
