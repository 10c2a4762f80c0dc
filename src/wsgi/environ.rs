//! The `environ` dict (PEP 3333, "environ Variables"; RFC 3875 §4.1).
//!
//! A template has every key that each request has; its copy is one allocation, and what differs is put over it. The
//! names of fields become keys once and are kept, as many as a limit allows: a peer can make up any number.

use std::collections::HashMap;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::environ::Environ;

use super::errors::ErrorStream;
use super::file_wrapper::FileWrapper;
use super::input::InputStream;

/// Makes the dicts of one thread.
pub(super) struct Template {
    dict: Py<PyDict>,
    /// `User-Agent` → `HTTP_USER_AGENT`, by the name as received.
    keys: HashMap<Vec<u8>, Py<PyString>>,
}

/// What the processes and threads of the server are like, truthfully.
#[derive(Clone, Copy, Debug, Default)]
pub struct Concurrency {
    /// Whether another thread of this process may call the application at the same time.
    pub is_multithread: bool,
    /// Whether other processes serve the application as well.
    pub is_multiprocess: bool,
}

impl Template {
    pub(super) fn new(
        py: Python<'_>,
        errors: &Py<ErrorStream>,
        Concurrency { is_multithread, is_multiprocess }: Concurrency,
    ) -> PyResult<Template> {
        let dict = PyDict::new(py);
        dict.set_item("wsgi.version", PyTuple::new(py, [1, 0])?)?;
        dict.set_item("wsgi.errors", errors)?;
        dict.set_item("wsgi.multithread", is_multithread)?;
        dict.set_item("wsgi.multiprocess", is_multiprocess)?;
        dict.set_item("wsgi.run_once", false)?;
        dict.set_item("wsgi.input_terminated", true)?;
        dict.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        dict.set_item("SERVER_SOFTWARE", concat!("ringway/", env!("CARGO_PKG_VERSION")))?;
        Ok(Template { dict: dict.unbind(), keys: HashMap::new() })
    }

    /// The dict of one request.
    pub(super) fn fill<'py>(&mut self, py: Python<'py>, environ: &Environ<'_>) -> PyResult<Bound<'py, PyDict>> {
        let dict = self.dict.bind(py).copy()?;
        let set = |key: &Bound<'py, PyString>, value: &[u8]| dict.set_item(key, latin1(py, value));
        set(intern!(py, "REQUEST_METHOD"), environ.request_method())?;
        set(intern!(py, "SCRIPT_NAME"), environ.script_name())?;
        set(intern!(py, "PATH_INFO"), environ.path_info())?;
        set(intern!(py, "QUERY_STRING"), environ.query_string())?;
        set(intern!(py, "SERVER_PROTOCOL"), environ.server_protocol())?;
        set(intern!(py, "SERVER_NAME"), environ.server_name())?;
        set(intern!(py, "SERVER_PORT"), server_port(environ))?;
        set(intern!(py, "wsgi.url_scheme"), environ.url_scheme())?;
        let target = latin1(py, environ.get("REQUEST_URI").unwrap_or_default());
        dict.set_item(intern!(py, "REQUEST_URI"), &target)?;
        dict.set_item(intern!(py, "RAW_URI"), &target)?;
        set(intern!(py, "REMOTE_ADDR"), environ.remote_addr())?;
        set(intern!(py, "REMOTE_PORT"), environ.get("REMOTE_PORT").unwrap_or_default())?;
        for (key, name) in [
            (intern!(py, "CONTENT_TYPE"), "CONTENT_TYPE"),
            (intern!(py, "CONTENT_LENGTH"), "CONTENT_LENGTH"),
            (intern!(py, "HTTP_HOST"), "HTTP_HOST"),
        ] {
            if let Some(value) = environ.get(name) {
                set(key, value)?;
            }
        }
        dict.set_item(intern!(py, "wsgi.input"), Bound::new(py, InputStream::new(py, environ.input()))?)?;
        for (name, value) in environ.own_fields() {
            self.add_field(&dict, name, value)?;
        }
        for (key, value) in environ.overlays() {
            dict.set_item(key, latin1(py, value))?;
        }
        Ok(dict)
    }

    /// Adds a field, or the value of a repeated one behind its first.
    fn add_field(&mut self, dict: &Bound<'_, PyDict>, name: &[u8], value: &[u8]) -> PyResult<()> {
        let py = dict.py();
        let key = self.key(py, name);
        let former_count = dict.len();
        let value = latin1(py, value);
        if let Some(former) = dict.get_item(&key)? {
            let separator = if name.eq_ignore_ascii_case(b"cookie") { "; " } else { "," };
            let joined = former.add(separator)?.add(&value)?;
            return dict.set_item(&key, joined);
        }
        dict.set_item(&key, &value)?;
        debug_assert!(dict.len() == former_count + 1, "a field has a key of its own");
        Ok(())
    }

    fn key<'py>(&mut self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyString> {
        if let Some(key) = self.keys.get(name) {
            return key.bind(py).clone();
        }
        let cgi_name: String = name.iter().map(|byte| cgi_character(*byte)).collect();
        let key = PyString::intern(py, &format!("HTTP_{cgi_name}"));
        if self.keys.len() < KEY_COUNT_MAX {
            self.keys.insert(name.to_vec(), key.clone().unbind());
        }
        key
    }
}

/// A str of these bytes, each a character (PEP 3333, "A Note On String Types").
pub(super) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyAny> {
    let size = ffi::Py_ssize_t::try_from(bytes.len()).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: the bytes are as many as is said, and every byte is a character of latin-1; null is out of memory.
    unsafe { Bound::from_owned_ptr(py, ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), size, std::ptr::null())) }
}

/// Never empty (PEP 3333): over a unix socket, the port that the scheme stands for.
fn server_port<'a>(environ: &Environ<'a>) -> &'a [u8] {
    match (environ.server_port(), environ.url_scheme()) {
        (b"", b"https") => b"443",
        (b"", _) => b"80",
        (port, _) => port,
    }
}

fn cgi_character(byte: u8) -> char {
    char::from(if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() })
}

/// Names of fields that are kept as keys: those of all browsers and proxies, and not of every peer's invention.
const KEY_COUNT_MAX: usize = 256;
