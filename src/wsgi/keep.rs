//! Strings that are made once and used again: the keys of fields, and values that come with every request.
//!
//! Both tables are direct-mapped: a string has one place, and another one that belongs there replaces it. So peers
//! cannot make them grow, and a lookup is a short hash, a comparison and a reference.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// What becomes of a field in the environ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has an `HTTP_` key.
    Own,
    /// `CONTENT_TYPE`.
    ContentType,
    /// None: it has a key of the server's making, or its name could pass for another's.
    Hidden,
}

/// Fields by their names as received.
pub(super) struct Keys {
    places: Vec<Option<Known>>,
}

struct Known {
    name: Box<[u8]>,
    kind: Kind,
    key: Py<PyString>,
}

/// Short values.
pub(super) struct Values {
    places: Vec<Option<Py<PyAny>>>,
}

impl Keys {
    pub(super) fn new() -> Keys {
        Keys { places: (0..KEY_COUNT).map(|_| None).collect() }
    }

    /// What a field of this name becomes, and its key.
    pub(super) fn find<'p>(&'p mut self, py: Python<'p>, name: &[u8]) -> (Kind, &'p Bound<'p, PyString>) {
        let place = &mut self.places[hash(name) % KEY_COUNT];
        if place.as_ref().is_none_or(|known| *known.name != *name) {
            *place = None;
        }
        let known = place.get_or_insert_with(|| {
            let cgi_name: String = name.iter().map(|byte| cgi_character(*byte)).collect();
            let key = format!("HTTP_{cgi_name}");
            // Interned, it is found by its address. Later versions of Python keep such a str for ever, and peers choose
            // the names, so it is done for those that applications ask for.
            let is_well_known = WELL_KNOWN.iter().any(|field| name.eq_ignore_ascii_case(field));
            let key = if is_well_known { PyString::intern(py, &key) } else { PyString::new(py, &key) };
            Known { name: name.into(), kind: kind_of(name), key: key.unbind() }
        });
        (known.kind, known.key.bind(py))
    }
}

impl Values {
    pub(super) fn new() -> Values {
        Values { places: (0..VALUE_COUNT).map(|_| None).collect() }
    }

    /// A str of these bytes, each a character (PEP 3333, "A Note On String Types").
    pub(super) fn latin1<'py>(&mut self, py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyAny> {
        if bytes.len() < 2 || bytes.len() > VALUE_SIZE_MAX {
            // The shortest are Python's own for ever.
            return latin1(py, bytes);
        }
        let place = &mut self.places[hash(bytes) % VALUE_COUNT];
        if let Some(kept) = place
            && characters(kept.bind(py)) == bytes
        {
            return kept.bind(py).clone();
        }
        let value = latin1(py, bytes);
        *place = Some(value.clone().unbind());
        value
    }
}

/// A new str of these bytes.
pub(super) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyAny> {
    let size = ffi::Py_ssize_t::try_from(bytes.len()).unwrap_or(ffi::Py_ssize_t::MAX);
    // SAFETY: the bytes are as many as is said, and every byte is a character of latin-1; null is out of memory.
    unsafe { Bound::from_owned_ptr(py, ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), size, std::ptr::null())) }
}

/// The characters of a str that [`latin1`] made.
fn characters<'s>(text: &'s Bound<'_, PyAny>) -> &'s [u8] {
    // SAFETY: the object is a str of one byte a character, as `latin1` makes them, and does not change.
    unsafe {
        let object = text.as_ptr();
        let size = usize::try_from(ffi::PyUnicode_GET_LENGTH(object)).unwrap_or(0);
        std::slice::from_raw_parts(ffi::PyUnicode_1BYTE_DATA(object), size)
    }
}

fn kind_of(name: &[u8]) -> Kind {
    if name.eq_ignore_ascii_case(b"content-type") {
        Kind::ContentType
    } else if crate::environ::has_own_key(name) {
        Kind::Own
    } else {
        Kind::Hidden
    }
}

fn cgi_character(byte: u8) -> char {
    char::from(if byte == b'-' { b'_' } else { byte.to_ascii_uppercase() })
}

/// Good enough for a table in which a collision costs a string.
fn hash(bytes: &[u8]) -> usize {
    let mut state = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        state = mix(state ^ u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    let state = mix(state ^ u64::from_le_bytes(last));
    usize::try_from(state >> 32).unwrap_or(0)
}

fn mix(state: u64) -> u64 {
    state.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23)
}

/// Fields that applications and frameworks read.
const WELL_KNOWN: [&[u8]; 24] = [
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cache-control",
    b"connection",
    b"cookie",
    b"dnt",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"origin",
    b"range",
    b"referer",
    b"upgrade-insecure-requests",
    b"user-agent",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-requested-with",
];

const KEY_COUNT: usize = 256;
const VALUE_COUNT: usize = 512;
/// A longer value is copied faster than found, and may be one that nobody sends again.
const VALUE_SIZE_MAX: usize = 128;
