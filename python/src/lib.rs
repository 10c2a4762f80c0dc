//! The extension module behind `python -m ringway` and the console script: the whole command line of the server.
//! It brings no allocator of its own, because the process is Python's.

use pyo3::prelude::*;

/// The module `ringway._ringway`.
#[pymodule]
mod _ringway {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use pyo3::prelude::*;
    use ringway::{Exit, Invocation};

    /// Runs the command line with these arguments, without the program's name, and answers its exit code. Worker
    /// processes are started as `python -m ringway` by the interpreter `program`.
    #[pyfunction]
    fn run(py: Python<'_>, program: PathBuf, arguments: Vec<OsString>) -> u8 {
        let invocation = Invocation { program, prefix: vec!["-m".into(), "ringway".into()], arguments };
        // Whoever waits for signals has no use for the interpreter's lock.
        let Exit(code) = py.detach(|| ringway::run(&ringway::apps::bundled(), &invocation));
        code
    }
}
