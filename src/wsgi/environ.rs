//! The `environ` dict (PEP 3333, "environ Variables"; RFC 3875 §4.1).
//!
//! A template has every key that each request has; its copy is one allocation with room for the fields, and what
//! differs is put over it. Keys and values that come again are not made again.

use std::net::IpAddr;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::environ::{Environ, Line};

use super::errors::ErrorStream;
use super::file_wrapper::FileWrapper;
use super::input::InputStream;
use super::keep::{Keys, Kind, Values, latin1};

/// Makes the dicts of one thread.
pub(super) struct Template {
    dict: Py<PyDict>,
    keys: Keys,
    values: Values,
    /// The last address of a peer, as text.
    address: Option<(IpAddr, Py<PyAny>)>,
    /// The last request's, used again unless the application has kept it.
    input: Option<Py<InputStream>>,
}

/// What `wsgi.multithread` and `wsgi.multiprocess` say.
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
        for key in PLACES {
            dict.set_item(PyString::intern(py, key), "")?;
        }
        dict.set_item("wsgi.version", PyTuple::new(py, [1, 0])?)?;
        dict.set_item("wsgi.errors", errors)?;
        dict.set_item("wsgi.multithread", is_multithread)?;
        dict.set_item("wsgi.multiprocess", is_multiprocess)?;
        dict.set_item("wsgi.run_once", false)?;
        dict.set_item("wsgi.input_terminated", true)?;
        dict.set_item("wsgi.file_wrapper", py.get_type::<FileWrapper>())?;
        dict.set_item("SERVER_SOFTWARE", concat!("ringway/", env!("CARGO_PKG_VERSION")))?;
        // A dict that has once been larger keeps its table, and so do its copies: room for the fields of a browser.
        for number in 0..ROOM_COUNT {
            dict.set_item(number, "")?;
        }
        for number in 0..ROOM_COUNT {
            dict.del_item(number)?;
        }
        let (keys, values) = (Keys::new(), Values::new());
        Ok(Template { dict: dict.unbind(), keys, values, address: None, input: None })
    }

    /// The dict of one request.
    pub(super) fn fill<'py>(&mut self, py: Python<'py>, environ: &Environ<'_>) -> PyResult<Bound<'py, PyDict>> {
        let dict = self.dict.bind(py).copy()?;
        let Line { method, script_name, path_info, query, target, protocol } = environ.line();
        let origin = environ.origin();
        let values = &mut self.values;
        for (key, value) in [
            (intern!(py, "REQUEST_METHOD"), method),
            (intern!(py, "SCRIPT_NAME"), script_name),
            (intern!(py, "PATH_INFO"), path_info),
            (intern!(py, "QUERY_STRING"), query),
            (intern!(py, "SERVER_PROTOCOL"), protocol),
            (intern!(py, "SERVER_NAME"), origin.server_name.as_bytes()),
            (intern!(py, "SERVER_PORT"), server_port(origin.server_port.as_bytes(), environ.scheme())),
            (intern!(py, "wsgi.url_scheme"), environ.scheme().as_bytes()),
        ] {
            dict.set_item(key, values.latin1(py, value))?;
        }
        let target = values.latin1(py, target);
        dict.set_item(intern!(py, "REQUEST_URI"), &target)?;
        dict.set_item(intern!(py, "RAW_URI"), &target)?;
        if let Some(host) = environ.host() {
            dict.set_item(intern!(py, "HTTP_HOST"), values.latin1(py, host))?;
        }
        if environ.has_body() {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(environ.input().size());
            dict.set_item(intern!(py, "CONTENT_LENGTH"), latin1(py, digits.as_bytes()))?;
        }
        self.put_peer(&dict, environ)?;
        self.put_input(&dict, environ)?;
        for (name, value) in environ.fields() {
            self.put_field(&dict, name, value)?;
        }
        for (key, value) in environ.overlays() {
            dict.set_item(key, latin1(py, value))?;
        }
        Ok(dict)
    }

    fn put_peer(&mut self, dict: &Bound<'_, PyDict>, environ: &Environ<'_>) -> PyResult<()> {
        let py = dict.py();
        if let Some(proxy) = environ.proxy_ip_addr() {
            let text = proxy.to_canonical().to_string();
            dict.set_item(intern!(py, "ringway.peer_addr"), self.values.latin1(py, text.as_bytes()))?;
        }
        // Over a unix socket both stay empty, and where a proxy hides its client; without a port one does.
        let Some(ip) = environ.remote_ip_addr() else { return Ok(()) };
        if self.address.as_ref().is_none_or(|(last, _)| *last != ip) {
            let text = ip.to_canonical().to_string();
            self.address = Some((ip, latin1(py, text.as_bytes()).unbind()));
        }
        if let Some((_, text)) = &self.address {
            dict.set_item(intern!(py, "REMOTE_ADDR"), text.bind(py))?;
        }
        let Some(port) = environ.remote_port() else { return Ok(()) };
        let mut digits = itoa::Buffer::new();
        let port = self.values.latin1(py, digits.format(port).as_bytes());
        dict.set_item(intern!(py, "REMOTE_PORT"), &port)
    }

    fn put_input(&mut self, dict: &Bound<'_, PyDict>, environ: &Environ<'_>) -> PyResult<()> {
        let py = dict.py();
        let kept = self.input.take().filter(|input| {
            // SAFETY: the object is held, and only its count is read.
            unsafe { ffi::Py_REFCNT(input.as_ptr()) == 1 }
        });
        let input = match kept {
            Some(input) => {
                input.bind(py).get().begin(py, environ.input());
                input
            }
            None => Py::new(py, InputStream::new(py, environ.input()))?,
        };
        dict.set_item(intern!(py, "wsgi.input"), input.bind(py).as_any())?;
        self.input = Some(input);
        Ok(())
    }

    /// Puts a field; the value of a repeated one is joined to those before it.
    fn put_field(&mut self, dict: &Bound<'_, PyDict>, name: &[u8], value: &[u8]) -> PyResult<()> {
        let py = dict.py();
        let value = self.values.latin1(py, value);
        let (kind, key) = self.keys.find(py, name);
        let key = match kind {
            Kind::Own => key,
            Kind::ContentType => intern!(py, "CONTENT_TYPE"),
            Kind::Hidden => return Ok(()),
        };
        let former_count = dict.len();
        // SAFETY: all three are objects that are held; the result is borrowed from the dict, or null with an exception.
        let put = unsafe { ffi::PyDict_SetDefault(dict.as_ptr(), key.as_ptr(), value.as_ptr()) };
        // SAFETY: as above.
        let former = unsafe { Bound::from_borrowed_ptr_or_err(py, put) }?;
        if dict.len() > former_count {
            return Ok(());
        }
        let separator = if name.eq_ignore_ascii_case(b"cookie") { "; " } else { "," };
        dict.set_item(key, former.add(separator)?.add(&value)?)
    }
}

/// Never empty (PEP 3333): over a unix socket, the port that the scheme stands for.
fn server_port<'a>(port: &'a [u8], url_scheme: &str) -> &'a [u8] {
    match (port, url_scheme) {
        (b"", "https") => b"443",
        (b"", _) => b"80",
        (port, _) => port,
    }
}

/// The keys that every request puts its own value over.
const PLACES: [&str; 13] = [
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "SERVER_PROTOCOL",
    "SERVER_NAME",
    "SERVER_PORT",
    "wsgi.url_scheme",
    "REQUEST_URI",
    "RAW_URI",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.input",
];
/// With the keys of the template more than a table of 32 places takes, so that it has 64.
const ROOM_COUNT: usize = 6;
