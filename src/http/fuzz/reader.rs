//! A second reading of HTTP/1.1 requests, to hold the server's own against.
//!
//! Written from RFC 9112, RFC 9110 §5 to §10 and RFC 3986 §3, with the strict choices of the rules in
//! `tests/wire/`, and not from the server's code, of which it uses nothing: no httparse, no memchr, no state
//! that is kept between receives. It has all that a peer sends in one piece, and copies what it likes. Where
//! several things are wrong with a head it names the status of each, because which is told first is free.

mod body;
mod uri;

pub(crate) use body::{read_chunks, read_length};
pub(crate) use uri::{Form, is_host, read_target, unescape};

/// How much a peer may send, in the words of the server's flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) request_line_max: usize,
    pub(crate) head_max: usize,
    pub(crate) field_count_max: usize,
    pub(crate) body_max: u64,
    pub(crate) extension_max: usize,
    pub(crate) trailer_max: usize,
    pub(crate) trailer_count_max: usize,
}

/// Everything that a peer sent.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The complete requests, in order.
    pub(crate) requests: Vec<Asked>,
    /// What is behind the last of them.
    pub(crate) end: End,
    /// Whether that begins as a HEAD request does, whose answer has no body.
    pub(crate) asks_for_head: bool,
}

/// What is behind the last complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing, or the beginning of a request with nothing wrong yet. With the head, if that is complete.
    Waits(Option<Box<Head>>),
    /// Something that gets one of these statuses, with the head if that is right. The connection closes.
    Refused(Vec<u16>, Option<Box<Head>>),
    /// Nothing is to be read behind a request that closes the connection.
    Closes,
}

/// A complete request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

/// A head with nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    pub(crate) is_http10: bool,
    /// Names as received, values without the whitespace around them.
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) host: Option<Vec<u8>>,
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Why the reading of one thing stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes end, and what they begin can still become right.
    More,
    /// It cannot, and gets one of these statuses.
    Wrong(Vec<u16>),
}

/// Why a request was not read, with its head where that is right.
type Unread = (Stop, Option<Box<Head>>);

/// Reads everything.
pub(crate) fn read(bytes: &[u8], sizes: &Sizes) -> Reading {
    let mut requests = Vec::new();
    let mut rest = bytes;
    loop {
        let start = skip_empty_lines(rest);
        let asks_for_head = rest[start..].starts_with(b"HEAD ");
        match read_request(rest, sizes) {
            Ok((asked, size)) => {
                rest = &rest[size..];
                let closes = !asked.head.keep_alive;
                requests.push(asked);
                if closes {
                    return Reading { requests, end: End::Closes, asks_for_head };
                }
            }
            Err((Stop::More, head)) => return Reading { requests, end: End::Waits(head), asks_for_head },
            Err((Stop::Wrong(statuses), head)) => {
                return Reading { requests, end: End::Refused(statuses, head), asks_for_head };
            }
        }
    }
}

/// The request that `bytes` begin with and its size.
fn read_request(bytes: &[u8], sizes: &Sizes) -> Result<(Asked, usize), Unread> {
    let (head, start, size) = read_head(bytes, sizes).map_err(|stop| (stop, None))?;
    let mut statuses = Vec::new();
    if matches!(head.framing, Framing::Length(size) if size > sizes.body_max) {
        statuses.push(413);
    }
    if matches!(head.method.as_slice(), b"CONNECT" | b"TRACE") {
        statuses.push(501);
    }
    let rest = &bytes[start + size..];
    let body = match head.framing {
        _ if !statuses.is_empty() => Err(Stop::Wrong(statuses)),
        Framing::None => Ok((Vec::new(), 0)),
        Framing::Length(size) => read_length(rest, size),
        Framing::Chunked => read_chunks(rest, sizes),
    };
    match body {
        Ok((body, body_size)) => Ok((Asked { head, body }, start + size + body_size)),
        Err(stop) => Err((stop, Some(Box::new(head)))),
    }
}

/// The size of the empty lines before a request line that are ignored: at most two (RFC 9112 §2.2).
fn skip_empty_lines(bytes: &[u8]) -> usize {
    let mut size = 0;
    while size < 4 && bytes[size..].starts_with(b"\r\n") {
        size += 2;
    }
    size
}

/// The head that `bytes` begin with, behind at most two empty lines (RFC 9112 §2.2): where it starts, and its
/// size with the empty line that ends it.
pub(crate) fn read_head(bytes: &[u8], sizes: &Sizes) -> Result<(Head, usize, usize), Stop> {
    let start = skip_empty_lines(bytes);
    let (lines, size) = split_lines(&bytes[start..], sizes)?;
    match judge_head(&lines, sizes) {
        Ok(head) => Ok((head, start, size)),
        Err(faults) => Err(Stop::Wrong(faults)),
    }
}

/// The lines of a head up to the empty one, without their ends, and the size of all.
fn split_lines<'b>(bytes: &'b [u8], sizes: &Sizes) -> Result<(Vec<&'b [u8]>, usize), Stop> {
    let mut lines = Vec::new();
    let mut start = 0;
    loop {
        let end = bytes[start..].iter().position(|byte| matches!(byte, b'\r' | b'\n')).map(|size| start + size);
        let line = &bytes[start..end.unwrap_or(bytes.len())];
        let behind = end.map_or(&b""[..], |end| &bytes[end..]);
        // With the CR, if there is one; at least one more byte must come.
        let seen = end.map_or(bytes.len(), |end| end + usize::from(behind[0] == b'\r'));
        // Sizes are told before anything else that is wrong; 431 if the first line has ended, else 414.
        if lines.is_empty() && (line.len() > sizes.request_line_max || seen >= sizes.head_max) {
            return Err(Stop::Wrong(vec![414]));
        }
        if seen >= sizes.head_max {
            return Err(Stop::Wrong(vec![431]));
        }
        match behind {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Err(Stop::More),
            // A CR alone or an LF alone ends no line (RFC 9112 §2.2, the strict choice).
            _ => return Err(Stop::Wrong(vec![400])),
        }
        // A third empty line; a request line without a version, which no field will follow.
        if lines.is_empty() && (line.is_empty() || !ends_in_version(line)) {
            return Err(Stop::Wrong(vec![400]));
        }
        start = seen + 1;
        if line.is_empty() {
            return Ok((lines, start));
        }
        lines.push(line);
    }
}

fn ends_in_version(line: &[u8]) -> bool {
    let word = line.split(|byte| *byte == b' ').next_back().unwrap_or_default();
    word.to_ascii_uppercase().starts_with(b"HTTP/")
}

/// Everything that a head must be, or the statuses for what it is not.
fn judge_head(lines: &[&[u8]], sizes: &Sizes) -> Result<Head, Vec<u16>> {
    let mut faults = Vec::new();
    // request-line = method SP request-target SP HTTP-version (RFC 9112 §3).
    let words: Vec<&[u8]> = lines[0].split(|byte| *byte == b' ').collect();
    let version = words[words.len() - 1];
    let is_http10 = version == b"HTTP/1.0";
    if !is_http10 && version != b"HTTP/1.1" {
        let is_grammar = matches!(version, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']);
        faults.push(if is_grammar { 505 } else { 400 });
    }
    if words.len() != 3 {
        faults.push(400);
    }
    let method = words[0];
    let target = if words.len() > 2 { words[1] } else { b"" };
    faults.extend((!is_token(method)).then_some(400));
    faults.extend((method.len() > 32).then_some(501));
    let form = read_target(method, target);
    faults.extend(form.is_none().then_some(400));
    let fields = judge_fields(&lines[1..], sizes, &mut faults);
    let values = |name: &str| -> Vec<&[u8]> {
        let named = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name.as_bytes()));
        named.map(|field| field.1.as_slice()).collect()
    };
    let host = judge_host(&values("Host"), is_http10, form.as_ref(), &mut faults);
    let framing = judge_framing(&values("Content-Length"), &values("Transfer-Encoding"), is_http10, &mut faults);
    let expectations = values("Expect");
    let is_known = |value: &&[u8]| value.eq_ignore_ascii_case(b"100-continue");
    faults.extend((!expectations.iter().all(is_known)).then_some(417));
    let options: Vec<Vec<u8>> = values("Connection").iter().flat_map(|value| elements(value)).collect();
    let says = |word: &[u8]| options.iter().any(|option| option.as_slice() == word);
    if !faults.is_empty() {
        return Err(faults);
    }
    let has_body = !matches!(framing, Framing::None | Framing::Length(0));
    Ok(Head {
        method: method.to_vec(),
        target: target.to_vec(),
        is_http10,
        framing,
        keep_alive: !says(b"close") && (!is_http10 || says(b"keep-alive")),
        expects_continue: !expectations.is_empty() && has_body && !is_http10,
        host,
        fields,
    })
}

/// `field-line = field-name ":" OWS field-value OWS` (RFC 9112 §5), with no whitespace before the colon and no
/// line that continues another.
fn judge_fields(lines: &[&[u8]], sizes: &Sizes, faults: &mut Vec<u16>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields = Vec::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        faults.extend((!is_token(name) || value.is_none()).then_some(400));
        let value = trim(value.unwrap_or_default());
        faults.extend(value.iter().any(|byte| is_control(*byte)).then_some(400));
        fields.push((name.to_vec(), value.to_vec()));
    }
    faults.extend((fields.len() > sizes.field_count_max).then_some(431));
    fields
}

/// RFC 9112 §3.2: one Host on HTTP/1.1, at most one on 1.0, well formed; an absolute target overrules it.
fn judge_host(values: &[&[u8]], is_http10: bool, form: Option<&Form<'_>>, faults: &mut Vec<u16>) -> Option<Vec<u8>> {
    let is_counted = values.len() == 1 || values.is_empty() && is_http10;
    let is_formed = values.iter().all(|host| host.is_empty() || is_host(host));
    faults.extend((!is_counted || !is_formed).then_some(400));
    match form {
        Some(Form::Absolute { authority, .. }) => {
            faults.extend(values.iter().any(|host| host.is_empty()).then_some(400));
            Some(authority.to_vec())
        }
        Some(Form::Origin { .. } | Form::Asterisk | Form::Authority) | None => values.first().map(|host| host.to_vec()),
    }
}

/// RFC 9112 §6.3, with the strict choice at every step.
fn judge_framing(lengths: &[&[u8]], codings: &[&[u8]], is_http10: bool, faults: &mut Vec<u16>) -> Framing {
    let mut framing = Framing::None;
    if let Some(length) = lengths.first() {
        let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit) && lengths.len() == 1;
        let number = std::str::from_utf8(length).ok().and_then(|text| text.parse::<u64>().ok());
        match number.filter(|_| is_number) {
            Some(size) => framing = Framing::Length(size),
            None => faults.push(400),
        }
    }
    if codings.is_empty() {
        return framing;
    }
    faults.extend((is_http10 || !lengths.is_empty()).then_some(400));
    let list: Vec<Vec<u8>> = codings.iter().flat_map(|value| elements(value)).collect();
    let place = list.iter().position(|coding| coding == b"chunked");
    let is_well_formed = list.iter().all(|coding| is_token(coding));
    if !is_well_formed || place.is_some_and(|place| place + 1 != list.len()) {
        faults.push(400);
    } else if list.len() > 1 || place.is_none() {
        faults.push(501);
    }
    Framing::Chunked
}

/// The elements of a list in lower case, empty ones too.
fn elements(value: &[u8]) -> Vec<Vec<u8>> {
    value.split(|byte| *byte == b',').map(|element| trim(element).to_ascii_lowercase()).collect()
}

fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// `token = 1*tchar` (RFC 9110 §5.6.2).
pub(crate) fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// What may not stand in a field's value (RFC 9110 §5.5).
fn is_control(byte: u8) -> bool {
    byte != b'\t' && (byte < b' ' || byte == 127)
}
