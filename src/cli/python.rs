//! Python applications: found by import; of one that fails, the traceback's end and one sentence are told.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::app::Application;
use crate::wsgi::{self, Concurrency, LoadError, interpreter};

use super::choose::{NotFound, Served, Surroundings};
use super::flags::{Interface, PythonFlags};

/// Imports the application that `name` names. `unknown` says that no linked one has this name.
pub(super) fn find(
    name: &str,
    flags: &PythonFlags,
    surroundings: Surroundings,
    unknown: String,
) -> Result<Served, NotFound> {
    let failed = |line: String| NotFound(vec![format!("ringway: {line}")]);
    // Once, however many applications are mounted.
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    let ready = READY.get_or_init(|| interpreter::start().and_then(|()| interpreter::extend_path(&flags.pythonpath)));
    ready.clone().map_err(failed)?;
    let callable = wsgi::load(name).map_err(|error| match error {
        LoadError::NoModule(_) if flags.interface == Interface::Auto && unknown.contains("Did you mean") => {
            failed(unknown)
        }
        LoadError::NoModule(module) => failed(format!(
            "No application `{name}` is linked, and Python finds no module `{module}`; --chdir and --pythonpath say \
             where to look."
        )),
        LoadError::Failed { mut traceback, sentence } => {
            traceback.push(format!("ringway: {sentence}"));
            NotFound(traceback)
        }
    })?;
    let Surroundings { is_multithread, is_multiprocess } = surroundings;
    let concurrency = Concurrency { is_multithread, is_multiprocess };
    let make = move || -> Box<dyn Application> { Box::new(callable.application(concurrency)) };
    Ok(Served { name: name.to_string(), make: Arc::new(make) })
}

/// The files that the application was read from, apart from installed packages.
pub(super) fn sources() -> Vec<PathBuf> {
    interpreter::sources()
}

/// Ends the interpreter, if one was started.
pub(super) fn finish() {
    interpreter::finish();
}

/// What `ringway doctor` says of Python.
pub(super) fn examined() -> String {
    interpreter::version()
}

/// Whether Python applications can be served at all.
pub(super) const IS_SERVED: bool = true;
