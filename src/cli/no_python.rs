//! Python applications in a build without the feature `wsgi`: a sentence about the build that has it.

use std::path::PathBuf;

use super::choose::{NotFound, Served, Surroundings};
use super::flags::{Interface, PythonFlags};

/// Ends with the line about the linked applications; where Python was asked for, with what would serve it.
pub(super) fn find(
    name: &str,
    flags: &PythonFlags,
    _surroundings: Surroundings,
    unknown: String,
) -> Result<Served, NotFound> {
    let line = match flags.interface {
        Interface::Wsgi => format!("`{name}` cannot be served: {REMEDY}"),
        Interface::Auto | Interface::Linked if unknown.contains("Did you mean") => unknown,
        Interface::Auto | Interface::Linked => format!("{unknown} Or is it a Python application? Then: {REMEDY}."),
    };
    Err(NotFound(vec![format!("ringway: {line}")]))
}

/// There is no interpreter to end.
pub(super) fn finish() {}

/// The files that an application was read from: the program, which is watched in any case.
pub(super) fn sources() -> Vec<PathBuf> {
    Vec::new()
}

/// What `ringway doctor` says of Python.
pub(super) fn examined() -> String {
    REMEDY.to_string()
}

/// Whether Python applications can be served at all.
pub(super) const IS_SERVED: bool = false;

const REMEDY: &str = "this build is without the feature wsgi; build with `cargo build --release --features wsgi`, or \
                      `pip install .` into a virtual environment";
