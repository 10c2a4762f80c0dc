//! `environ:app`: the environ of the request, one `KEY: value` a line, sorted.

use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};

/// `environ:app`. Control bytes and what is not UTF-8 are shown as `\xNN`.
pub fn app<'r>(environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
    let mut lines: Vec<String> = environ.iter().map(|(key, value)| format!("{key}: {}\n", printable(value))).collect();
    lines.sort_unstable();
    start_response.start(Status::OK).header("Content-Type", "text/plain; charset=utf-8").body(lines.concat())
}

fn printable(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            match u8::try_from(c) {
                Ok(byte) if byte.is_ascii_control() => text.push_str(&format!("\\x{byte:02x}")),
                Ok(_) | Err(_) => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
