//! Python applications in a build without the feature `wsgi`: a sentence about the one that has it.

use std::fmt::Write as _;

use super::choose::{NotFound, Served, Surroundings};
use super::flags::{Interface, PythonFlags};

/// Ends with the line about the linked applications; where Python was asked for, with what would serve it.
pub(super) fn find(
    name: &str,
    flags: &PythonFlags,
    _surroundings: Surroundings,
    unknown: String,
) -> Result<Served, NotFound> {
    let mut line = format!("ringway: {unknown}");
    match flags.interface {
        Interface::Wsgi => line = format!("ringway: `{name}` cannot be served: {REMEDY}"),
        // Writing to a string does not fail.
        Interface::Auto | Interface::Linked if !line.contains("Did you mean") => {
            let _ = write!(line, " Or is it a Python application? Then: {REMEDY}.");
        }
        Interface::Auto | Interface::Linked => {}
    }
    Err(NotFound(vec![line]))
}

/// There is no interpreter to end.
pub(super) fn finish() {}

/// What `ringway doctor` says of Python.
pub(super) fn examined() -> String {
    REMEDY.to_string()
}

const REMEDY: &str = "this build is without the feature wsgi; build with `cargo build --release --features wsgi`, or \
                      `pip install .` into a virtual environment";
/// Whether Python applications can be served at all.
pub(super) const IS_SERVED: bool = false;
