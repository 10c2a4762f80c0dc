//! Compares what came back with what was expected, and says where they part.

use super::case::{Demand, DemandKind, Ending, Expected, State};
use super::escape::{show, show_ends};
use super::front_end::{End, Outcome};
use super::reply::{Asked, Reply, read};

/// Where the expectation is written, and how what came differs from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// A line of the case's file.
    pub line: usize,
    /// A sentence.
    pub text: String,
}

/// Judges an outcome by what is expected in order, and by how the connection must end.
///
/// # Errors
/// The first difference.
pub fn judge(expected: &[Expected], ending: Ending, case_line: usize, outcome: &Outcome) -> Result<(), Difference> {
    let mut rest = &outcome.bytes[..];
    let mut line = case_line;
    for (index, wanted) in expected.iter().enumerate() {
        line = wanted.line;
        // A line of no response is that of the case: the check has added this one.
        let which = if line == case_line { "the sentinel".to_owned() } else { format!("response {}", index + 1) };
        let differs = |text: String| Difference { line, text: format!("{which}: {text}") };
        if rest.is_empty() && wanted.optional {
            continue;
        }
        let asked = Asked { head: wanted.head, http10: wanted.http10 };
        let reply = read(rest, asked, outcome.end == End::Closed);
        let reply = reply
            .map_err(|malformed| differs(format!("expected {wanted}, got bytes that are malformed: {malformed}")))?;
        match (reply, wanted.state) {
            (Some(reply), State::Abort) => {
                return Err(differs(format!("expected to be cut off, got a complete {}", reply.status)));
            }
            (None, State::Abort) => rest = &[],
            (None, _) if rest.is_empty() => return Err(differs(format!("expected {wanted}, got nothing"))),
            (None, _) => return Err(differs(format!("expected {wanted}, got only a part of a response"))),
            (Some(reply), _) if wanted.optional && wanted.status != Some(reply.status) => {}
            (Some(reply), _) => {
                compare(wanted, &reply)
                    .map_err(|(demand_line, text)| Difference { line: demand_line, ..differs(text) })?;
                rest = &rest[reply.size..];
            }
        }
    }
    if !rest.is_empty() {
        let text = format!("expected nothing more, got {} bytes:\n{}", rest.len(), show_ends(rest, "      "));
        return Err(Difference { line, text });
    }
    let fits = match ending {
        Ending::Keep | Ending::Open => outcome.end == End::Open,
        Ending::Close => outcome.end == End::Closed,
        Ending::Abort => outcome.end != End::Open,
    };
    if fits {
        return Ok(());
    }
    let wanted = match ending {
        Ending::Keep | Ending::Open => "stay open",
        Ending::Close => "close in order",
        Ending::Abort => "break",
    };
    let text = format!("expected the connection to {wanted}, but it is {:?} at the end", outcome.end);
    Err(Difference { line, text })
}

/// The bytes without what may differ between two runs: the value of Date, the client's port in the environ,
/// and, where they are optional, interim responses.
#[must_use]
pub fn canonical(expected: &[Expected], outcome: &Outcome) -> Vec<u8> {
    let interim_optional = expected.iter().any(|wanted| wanted.optional && wanted.state == State::Interim);
    let mut bytes = outcome.bytes.clone();
    if interim_optional {
        const INTERIM: &[u8] = b"HTTP/1.1 100 ";
        while bytes.starts_with(INTERIM) {
            let Ok(Some(reply)) = read(&bytes, Asked::default(), false) else { break };
            bytes.drain(..reply.size);
        }
    }
    let mut masked = Vec::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match [&b"Date: "[..], b"REMOTE_PORT: "].into_iter().find(|start| line.starts_with(start)) {
            Some(start) => {
                masked.extend_from_slice(start);
                masked.extend_from_slice(b"*\r\n");
            }
            None => masked.extend_from_slice(line),
        }
    }
    masked
}

fn compare(wanted: &Expected, reply: &Reply) -> Result<(), (usize, String)> {
    if wanted.status.is_some_and(|status| status != reply.status) {
        let body = show_ends(&reply.body, "      ");
        return Err((wanted.line, format!("expected {wanted}, got {} with the body\n{body}", reply.status)));
    }
    let state = match wanted.state {
        State::Interim | State::Abort => None,
        State::Keep if reply.close => Some("says Connection: close"),
        State::Keep if wanted.http10 && !reply.keep_alive => Some("doesn't say Connection: keep-alive"),
        State::Keep => None,
        State::Close if reply.close => None,
        State::Close => Some("doesn't say Connection: close"),
    };
    if let Some(state) = state {
        return Err((wanted.line, format!("expected {wanted}, got {} which {state}", reply.status)));
    }
    for Demand { line, kind } in &wanted.demands {
        holds(kind, reply).map_err(|text| (*line, text))?;
    }
    Ok(())
}

fn holds(kind: &DemandKind, reply: &Reply) -> Result<(), String> {
    let list = |name| reply.values(name).map(|value| show(value, "").trim_end().to_owned()).collect::<Vec<_>>();
    let body = || show_ends(&reply.body, "      ");
    let mut lines = reply.body.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    match kind {
        DemandKind::Header(name, value) if !reply.values(name).eq([value.as_slice()]) => {
            Err(format!("expected {name}: {}, got {:?}", show(value, "").trim_end(), list(name)))
        }
        DemandKind::Has(name) if reply.values(name).count() != 1 => {
            Err(format!("expected one {name}, got {:?}", list(name)))
        }
        DemandKind::No(name) if reply.values(name).count() != 0 => {
            Err(format!("expected no {name}, got {:?}", list(name)))
        }
        DemandKind::Body(wanted) if *wanted != reply.body => {
            Err(format!("expected the body\n{}    got\n{}", show_ends(wanted, "      "), body()))
        }
        DemandKind::BodySize(size) if *size != reply.body.len() => {
            Err(format!("expected a body of {size} bytes, got {}", reply.body.len()))
        }
        DemandKind::BodySome if reply.body.is_empty() => Err("expected a body, got an empty one".to_owned()),
        DemandKind::Line(wanted) if !lines.any(|line| line == wanted) => {
            Err(format!("expected the line\n{}    in the body\n{}", show(wanted, "      "), body()))
        }
        DemandKind::NoLine(start) if lines.any(|line| line.starts_with(start)) => {
            Err(format!("expected no line that begins with\n{}    in the body\n{}", show(start, "      "), body()))
        }
        _ => Ok(()),
    }
}
