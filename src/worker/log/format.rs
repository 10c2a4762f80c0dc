//! One line of the access log: in the combined format, or as a JSON object.
//!
//! What a peer has sent cannot end a line, nor a string in it, whatever its bytes are.

use std::io::Write;
use std::str::FromStr;
use std::time::SystemTime;

use crate::connection::Completed;
use crate::json;
use crate::sys::{self, Peer};

use super::redact::Redact;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// The combined format, with the seconds taken and the request's id behind it.
    #[default]
    Combined,
    /// An object a line.
    Json,
}

/// Writes lines of one worker.
pub(super) struct Writing {
    format: LogFormat,
    redact: Redact,
    /// The time of the second, as the format writes it.
    time: String,
    /// Where the target and the Referer are redacted.
    urls: [Vec<u8>; 2],
}

impl Writing {
    pub(super) fn new(format: LogFormat, redact: Redact) -> Writing {
        Writing { format, redact, time: String::new(), urls: Default::default() }
    }

    /// Begins a second.
    pub(super) fn set_time(&mut self, now: SystemTime) {
        self.time = match self.format {
            LogFormat::Combined => sys::local_time(now),
            LogFormat::Json => sys::timestamp(now),
        };
    }

    /// Puts the line of a request.
    pub(super) fn put(&mut self, lines: &mut Vec<u8>, completed: &Completed<'_>) {
        let Writing { redact, urls: [target, referer], time, format } = self;
        let (method, received, protocol) = words(completed.request_line);
        target.clear();
        referer.clear();
        redact.put(received, target);
        redact.put(completed.referer, referer);
        let line = Line { completed, time, method, target, protocol, referer };
        match format {
            LogFormat::Combined => line.put_combined(lines),
            LogFormat::Json => line.put_json(lines),
        }
    }
}

/// What a line says.
struct Line<'l> {
    completed: &'l Completed<'l>,
    time: &'l str,
    method: &'l [u8],
    target: &'l [u8],
    protocol: &'l [u8],
    referer: &'l [u8],
}

impl Line<'_> {
    // Writing to a vector does not fail.
    fn put_combined(&self, lines: &mut Vec<u8>) {
        let Completed { status, body_size, user_agent, request_id, duration, .. } = *self.completed;
        if !put_address(lines, self.completed.peer) {
            lines.push(b'-');
        }
        let _ = write!(lines, " - - [{}] \"", self.time);
        for (index, word) in [self.method, self.target, self.protocol].into_iter().enumerate() {
            if index > 0 {
                lines.push(b' ');
            }
            put_quoted(lines, word);
        }
        let _ = write!(lines, "\" {} {body_size} \"", status.code());
        put_quoted(lines, or_dash(self.referer));
        lines.extend_from_slice(b"\" \"");
        put_quoted(lines, or_dash(user_agent));
        let _ = write!(lines, "\" {:.6} \"", duration.as_secs_f64());
        put_quoted(lines, or_dash(request_id));
        lines.extend_from_slice(b"\"\n");
    }

    fn put_json(&self, lines: &mut Vec<u8>) {
        let Completed { status, body_size, user_agent, request_id, duration, host, .. } = *self.completed;
        let _ = write!(lines, "{{\"time\":\"{}\",\"remote_addr\":\"", self.time);
        put_address(lines, self.completed.peer);
        lines.push(b'"');
        for (name, value) in [("method", self.method), ("target", self.target), ("protocol", self.protocol)] {
            put_member(lines, name, value);
        }
        let (code, seconds) = (status.code(), duration.as_secs_f64());
        let _ = write!(lines, ",\"status\":{code},\"bytes\":{body_size},\"duration\":{seconds:.6}");
        for (name, value) in
            [("referer", self.referer), ("user_agent", user_agent), ("request_id", request_id), ("host", host)]
        {
            put_member(lines, name, value);
        }
        lines.extend_from_slice(b"}\n");
    }
}

fn put_member(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    // Writing to a vector does not fail.
    let _ = write!(lines, ",\"{name}\":");
    json::put_string(lines, value);
}

/// Answers whether there was an address to put.
fn put_address(lines: &mut Vec<u8>, peer: Option<Peer>) -> bool {
    match peer.and_then(Peer::ip) {
        // Writing to a vector does not fail.
        Some(ip) => write!(lines, "{}", ip.to_canonical()).is_ok(),
        None => false,
    }
}

/// The three words of a request line; of one that has fewer, which no parsed request has, the last are empty.
fn words(request_line: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let mut words = request_line.splitn(3, |byte| *byte == b' ');
    let mut next = || words.next().unwrap_or_default();
    (next(), next(), next())
}

fn or_dash(text: &[u8]) -> &[u8] {
    if text.is_empty() { b"-" } else { text }
}

/// Puts text between quotes: quotes, backslashes and bytes that are not printable ASCII become `\xNN`.
fn put_quoted(lines: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f..=0xff => {
                // Writing to a vector does not fail.
                let _ = write!(lines, "\\x{byte:02x}");
            }
            _ => lines.push(*byte),
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "combined" => Ok(LogFormat::Combined),
            "json" => Ok(LogFormat::Json),
            _ => Err("write combined or json".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::http::status::Status;

    use super::*;

    fn completed<'a>(request_line: &'a [u8], referer: &'a [u8], user_agent: &'a [u8]) -> Completed<'a> {
        Completed {
            peer: Some(Peer::Inet(([127, 0, 0, 1], 4000).into())),
            request_line,
            referer,
            user_agent,
            host: b"h",
            request_id: b"id-1",
            status: Status::OK,
            body_size: 13,
            duration: Duration::from_micros(1500),
        }
    }

    fn line_of(format: LogFormat, redact: Redact, completed: &Completed<'_>) -> String {
        let mut writing = Writing::new(format, redact);
        writing.time = "now".into();
        let mut lines = Vec::new();
        writing.put(&mut lines, completed);
        String::from_utf8(lines).expect("a line is text")
    }

    #[test]
    fn the_combined_line_ends_with_duration_and_id() {
        let plain = completed(b"GET /a?b HTTP/1.1", b"", b"curl/8");
        assert_eq!(
            line_of(LogFormat::Combined, Redact::default(), &plain),
            "127.0.0.1 - - [now] \"GET /a?b HTTP/1.1\" 200 13 \"-\" \"curl/8\" 0.001500 \"id-1\"\n"
        );
        let forging = completed(b"GET /\" HTTP/1.1", b"a\\\r\nb", b"\x00\xff\"");
        let unix = Completed { peer: Some(Peer::Unix), request_id: b"", ..forging };
        assert_eq!(
            line_of(LogFormat::Combined, Redact::default(), &unix),
            "- - - [now] \"GET /\\x22 HTTP/1.1\" 200 13 \"a\\x5c\\x0d\\x0ab\" \"\\x00\\xff\\x22\" 0.001500 \"-\"\n"
        );
    }

    #[test]
    fn an_object_has_every_member() {
        let line = line_of(LogFormat::Json, Redact::default(), &completed(b"GET /a?b HTTP/1.1", b"", b"curl/8"));
        assert_eq!(
            line,
            "{\"time\":\"now\",\"remote_addr\":\"127.0.0.1\",\"method\":\"GET\",\"target\":\"/a?b\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":13,\"duration\":0.001500,\"referer\":\"\",\
             \"user_agent\":\"curl/8\",\"request_id\":\"id-1\",\"host\":\"h\"}\n"
        );
    }

    #[test]
    fn both_formats_redact() {
        let redact = Redact { query: true, credentials: true };
        let secret = completed(b"GET /a?token=t HTTP/1.1", b"http://u:p@h/?code=1", b"");
        for format in [LogFormat::Combined, LogFormat::Json] {
            let line = line_of(format, redact, &secret);
            assert!(line.contains("/a?[redacted]") && line.contains("http://[redacted]@h/?[redacted]"), "{line}");
            assert!(!line.contains("token") && !line.contains("u:p") && !line.contains("code=1"), "{line}");
        }
    }

    proptest! {
        #[test]
        fn every_line_is_one_line_and_parses(
            words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 5),
            query in any::<bool>(),
            credentials in any::<bool>(),
        ) {
            let [line, referer, user_agent, host, request_id] = &words[..] else { unreachable!("there are five") };
            let completed = Completed { host, request_id, ..completed(line, referer, user_agent) };
            let redact = Redact { query, credentials };
            let combined = line_of(LogFormat::Combined, redact, &completed);
            prop_assert!(combined.is_ascii() && combined.matches('\n').count() == 1);
            prop_assert_eq!(combined.matches('"').count(), 8);
            let object = line_of(LogFormat::Json, redact, &completed);
            prop_assert!(object.matches('\n').count() == 1);
            let parsed: serde_json::Value = serde_json::from_str(&object).expect("an object");
            prop_assert_eq!(parsed["host"].as_str(), Some(&*String::from_utf8_lossy(host)));
        }
    }
}
