//! The extension module behind `python -m ringway` and the console script: the whole command line of the server.
//! It brings no allocator of its own, because the process is Python's.

use pyo3::prelude::*;

/// The module `ringway._ringway`.
#[pymodule]
mod _ringway {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use pyo3::prelude::*;
    use ringway::Invocation;

    /// Runs the command line with these arguments, without the program's name, and ends the process. Worker processes
    /// are started as `python -m ringway` by the interpreter `program`.
    #[pyfunction]
    fn run(py: Python<'_>, program: PathBuf, arguments: Vec<OsString>) {
        let invocation = Invocation { program, prefix: vec!["-m".into(), "ringway".into()], arguments };
        // Whoever waits for signals has no use for the interpreter's lock.
        py.detach(|| ringway::run(&ringway::apps::bundled(), &invocation).end());
    }
}
