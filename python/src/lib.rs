//! The extension module behind `python -m ringway` and the console script: the whole command line of the server.
//! It brings no allocator of its own, because the process is Python's.

use pyo3::prelude::*;

/// The module `ringway._ringway`.
#[pymodule]
mod _ringway {
    use super::*;

    /// Runs the command line with these arguments, the first being the program's name, and answers its exit code.
    #[pyfunction]
    fn main(py: Python<'_>, arguments: Vec<String>) -> u8 {
        // Whoever waits for signals has no use for the interpreter's lock.
        py.detach(|| ringway::main_with(ringway::apps::bundled(), arguments))
    }
}
