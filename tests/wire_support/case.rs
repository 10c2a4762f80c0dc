//! The case files: what is sent, to which app, and what must come back.
//!
//! This module performs no I/O but [`load_all`], which reads `tests/wire/*.http`.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use super::escape::decode;

/// One conversation on one connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file it was read from, as messages name it.
    pub file: String,
    /// The line of its `case:`.
    pub line: usize,
    /// The first row and the name in the file, `1/length-then-chunked`; unique among all files.
    pub name: String,
    /// The rows of HTTP_RULES.md that it covers; none for a limit that the table of rows does not number.
    pub rows: Vec<u8>,
    /// What is written beside the number of the rows.
    pub title: String,
    /// The application, `echo:app`.
    pub app: String,
    /// How the server is started: flags, as in the command line; usually none.
    pub flags: String,
    /// What the client sends once, before all else, however often it then says the rest.
    pub preface: Vec<u8>,
    /// What the client does, in order. `Fin` is the last if it is there at all.
    pub segments: Vec<Event>,
    /// The responses, in order.
    pub expected: Vec<Expected>,
    /// What becomes of the connection after the last of them.
    pub ending: Ending,
}

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It sends these bytes; how they are cut is the check's business.
    Bytes(Vec<u8>),
    /// It finishes sending, and still reads.
    Fin,
}

/// A response that must come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Its line in the case's file.
    pub line: usize,
    /// The status; `None` where any will do, which no file can say.
    pub status: Option<u16>,
    /// Whether it may also be left out.
    pub optional: bool,
    /// What it says of the connection.
    pub state: State,
    /// Whether it answers a HEAD request and so has no body, whatever its fields say.
    pub head: bool,
    /// Whether it answers an HTTP/1.0 request.
    pub http10: bool,
    /// What else must hold.
    pub demands: Vec<Demand>,
}

/// What a response says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A 1xx: the final response is still to come.
    Interim,
    /// The connection goes on.
    Keep,
    /// The response says `Connection: close`, and the connection closes.
    Close,
    /// The connection breaks before this response is complete.
    Abort,
}

/// What becomes of a connection after a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It takes another request.
    Keep,
    /// It waits for the rest of a request.
    Open,
    /// It closes in order.
    Close,
    /// It breaks.
    Abort,
}

/// A property of one response, with its line in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Its line in the case's file.
    pub line: usize,
    /// The property.
    pub kind: DemandKind,
}

/// A property of one response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DemandKind {
    /// The field is there once, with exactly this value.
    Header(String, Vec<u8>),
    /// The field is there once.
    Has(String),
    /// The field is not there.
    No(String),
    /// The body is exactly this.
    Body(Vec<u8>),
    /// The body has this many bytes.
    BodySize(usize),
    /// The body has at least one byte.
    BodySome,
    /// The body has this line, ended by LF or by its end.
    Line(Vec<u8>),
    /// No line of the body begins so.
    NoLine(Vec<u8>),
}

/// Why a file is not a case file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The file.
    pub file: String,
    /// The line.
    pub line: usize,
    /// The reason, a sentence.
    pub reason: String,
}

/// Where the case files are, from the package's root.
pub const DIRECTORY: &str = "tests/wire";

impl Case {
    /// All bytes that the client sends, in one piece, without the preface.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for event in &self.segments {
            match event {
                Event::Bytes(bytes) => all.extend_from_slice(bytes),
                Event::Fin => {}
            }
        }
        all
    }

    /// Whether the client finishes sending.
    #[must_use]
    pub fn fin(&self) -> bool {
        self.segments.last() == Some(&Event::Fin)
    }
}

impl Expected {
    /// The expectation of `status` and `state`, without further demands.
    #[must_use]
    pub fn new(line: usize, status: Option<u16>, state: State) -> Expected {
        Expected { line, status, optional: false, state, head: false, http10: false, demands: Vec::new() }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{status}")?,
            None => f.write_str("any status")?,
        }
        f.write_str(match self.state {
            State::Interim => "",
            State::Keep => " keep",
            State::Close => " close",
            State::Abort => " abort",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.reason)
    }
}

/// Reads every case file, sorted by name.
///
/// # Errors
/// The first refusal; also of a name that two cases have.
pub fn load_all() -> Result<Vec<Case>, Refusal> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(DIRECTORY);
    let entries = std::fs::read_dir(&directory).expect("the case files are in the package");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    paths.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a case file is readable ASCII");
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        cases.extend(parse(&format!("{DIRECTORY}/{name}"), &text)?);
    }
    let mut seen = HashMap::new();
    for case in &cases {
        if let Some(line) = seen.insert(&case.name, format!("{}:{}", case.file, case.line)) {
            let reason = format!("{line} has the same name: {}", case.name);
            return Err(Refusal { file: case.file.clone(), line: case.line, reason });
        }
    }
    Ok(cases)
}

/// Reads one case file.
///
/// # Errors
/// The first line that is not in the format.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, Refusal> {
    let mut parser = Parser::default();
    let mut number = 0;
    for line in text.lines() {
        number += 1;
        let done = parser.line(file, number, line);
        done.map_err(|reason| Refusal { file: file.to_owned(), line: number, reason })?;
    }
    let done = parser.finish_case();
    done.map_err(|reason| Refusal { file: file.to_owned(), line: number, reason })?;
    Ok(parser.cases)
}

/// What the lines so far have said.
#[derive(Default)]
struct Parser {
    heading: Option<(String, Vec<u8>, String)>,
    app: Option<String>,
    flags: String,
    cases: Vec<Case>,
    open: Option<Case>,
    /// How many responses at the end of the open case the next demand is about.
    group_count: usize,
    /// Whether the open case has said how it ends.
    ended: bool,
}

impl Parser {
    fn line(&mut self, file: &str, number: usize, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix('>') {
            return self.sent(rest);
        }
        if let Some(rest) = line.strip_prefix('<') {
            return self.answer(number, rest);
        }
        let (word, rest) =
            line.split_once(':').ok_or("a line begins with #, >, <, row, limit, app:, flags: or case:")?;
        let rest = rest.trim();
        match word.split_once(' ').unwrap_or((word, "")) {
            ("case", "") => {
                self.finish_case()?;
                self.open = Some(self.start_case(file, number, rest)?);
                Ok(())
            }
            ("app", "") => {
                match &mut self.open {
                    Some(case) => rest.clone_into(&mut case.app),
                    None => self.app = Some(rest.to_owned()),
                }
                Ok(())
            }
            ("flags", "") => {
                match &mut self.open {
                    Some(case) => rest.clone_into(&mut case.flags),
                    None => rest.clone_into(&mut self.flags),
                }
                Ok(())
            }
            ("row" | "rows", numbers) => {
                self.finish_case()?;
                let rows = numbers.split(',').map(|row| row.trim().parse::<u8>());
                let rows: Vec<u8> = rows.collect::<Result<_, _>>().map_err(|_| "a row is a small number")?;
                self.heading = Some((rows[0].to_string(), rows, rest.to_owned()));
                Ok(())
            }
            ("limit", "") => {
                self.finish_case()?;
                self.heading = Some(("limit".to_owned(), Vec::new(), rest.to_owned()));
                Ok(())
            }
            _ => Err(format!("nothing is called {word}")),
        }
    }

    fn start_case(&self, file: &str, line: usize, name: &str) -> Result<Case, String> {
        let (prefix, rows, title) = self.heading.as_ref().ok_or("a case comes under a row or a limit")?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err("a case's name is lower case letters, digits and hyphens".to_owned());
        }
        Ok(Case {
            file: file.to_owned(),
            line,
            name: format!("{prefix}/{name}"),
            rows: rows.clone(),
            title: title.clone(),
            app: self.app.clone().unwrap_or_default(),
            flags: self.flags.clone(),
            preface: Vec::new(),
            segments: Vec::new(),
            expected: Vec::new(),
            ending: Ending::Keep,
        })
    }

    fn sent(&mut self, rest: &str) -> Result<(), String> {
        let case = self.open.as_mut().ok_or("bytes come after a case:")?;
        if case.fin() {
            return Err("nothing is sent after >fin".to_owned());
        }
        if !case.expected.is_empty() || self.ended {
            return Err("what is sent comes before what is expected".to_owned());
        }
        if rest == "fin" {
            case.segments.push(Event::Fin);
            return Ok(());
        }
        if let Some(text) = rest.strip_prefix("once ") {
            if !case.segments.is_empty() {
                return Err("what is sent once comes before all else".to_owned());
            }
            case.preface.extend(decode(text)?);
            return Ok(());
        }
        let (count, text) = repeated(rest)?;
        let bytes = decode(text)?;
        if bytes.is_empty() {
            return Err("a > without bytes sends nothing".to_owned());
        }
        case.segments.push(Event::Bytes(bytes.repeat(count)));
        Ok(())
    }

    fn answer(&mut self, line: usize, rest: &str) -> Result<(), String> {
        let case = self.open.as_mut().ok_or("an expectation comes after a case:")?;
        if self.ended {
            return Err("nothing comes after the end".to_owned());
        }
        let (count, text) = repeated(rest)?;
        match text {
            "open" => {
                case.ending = Ending::Open;
                self.ended = true;
                return Ok(());
            }
            "silent-close" => {
                case.ending = Ending::Close;
                self.ended = true;
                return Ok(());
            }
            _ => {}
        }
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            let from = case.expected.len() - self.group_count;
            let group = &mut case.expected[from..];
            return demand(group, line, text);
        }
        if case.expected.last().is_some_and(|last| matches!(last.state, State::Close | State::Abort)) {
            return Err("no response comes after the one that ends the connection".to_owned());
        }
        let expected = expected(line, text)?;
        case.expected.extend(std::iter::repeat_n(expected, count));
        self.group_count = count;
        Ok(())
    }

    fn finish_case(&mut self) -> Result<(), String> {
        let (ended, _) = (std::mem::take(&mut self.ended), std::mem::take(&mut self.group_count));
        let Some(mut case) = self.open.take() else { return Ok(()) };
        let at = format!("the case {} (line {})", case.name, case.line);
        if !case.app.contains(':') {
            return Err(format!("{at} has no app"));
        }
        if case.segments.is_empty() && case.preface.is_empty() {
            return Err(format!("{at} does nothing"));
        }
        let last = case.expected.last().map(|last| last.state);
        case.ending = match (ended, last) {
            (false, None) => return Err(format!("{at} expects nothing")),
            (false, Some(State::Interim)) => return Err(format!("{at} ends with a 1xx; say < open")),
            (false, Some(State::Keep)) if case.fin() => Ending::Close,
            (false, Some(State::Keep)) => Ending::Keep,
            (false, Some(State::Close)) => Ending::Close,
            (false, Some(State::Abort)) => Ending::Abort,
            (true, Some(State::Close | State::Abort)) => return Err(format!("{at} ends twice")),
            (true, Some(State::Interim | State::Keep) | None) => case.ending,
        };
        if case.ending == Ending::Open && case.fin() {
            return Err(format!("{at} can't be open: its client has finished"));
        }
        self.cases.push(case);
        Ok(())
    }
}

/// `*N text` or ` text`.
fn repeated(rest: &str) -> Result<(usize, &str), String> {
    if let Some(text) = rest.strip_prefix(' ') {
        return Ok((1, text));
    }
    let repeat = rest.strip_prefix('*').and_then(|rest| rest.split_once(' '));
    let (count, text) = repeat.ok_or("a space, or *N and a space, comes before the bytes")?;
    match count.parse() {
        Ok(count @ 2..) => Ok((count, text)),
        Ok(_) | Err(_) => Err("the count of a repeat is a number above 1".to_owned()),
    }
}

/// `200 keep HEAD 1.0`, `100`, `100?`.
fn expected(line: usize, text: &str) -> Result<Expected, String> {
    let mut words = text.split(' ');
    let status = words.next().unwrap_or_default();
    let (status, optional) = status.strip_suffix('?').map_or((status, false), |status| (status, true));
    let status: u16 = status.parse().map_err(|_| "a status is three digits")?;
    let state = match (status, words.next()) {
        (100..=199, None) => State::Interim,
        (200..=599, Some("keep")) => State::Keep,
        (200..=599, Some("close")) => State::Close,
        (200..=599, Some("abort")) => State::Abort,
        _ => return Err("a status is followed by keep, close or abort, a 1xx by nothing".to_owned()),
    };
    let mut expected = Expected { optional, ..Expected::new(line, Some(status), state) };
    for word in words {
        match word {
            "HEAD" => expected.head = true,
            "1.0" => expected.http10 = true,
            _ => return Err(format!("{word} says nothing of a request; HEAD and 1.0 do")),
        }
    }
    Ok(expected)
}

/// Adds what `text` demands to each response of `group`.
fn demand(group: &mut [Expected], line: usize, text: &str) -> Result<(), String> {
    if group.is_empty() {
        return Err("a demand comes after the response that it is about".to_owned());
    }
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let kind = match word {
        "header" => {
            let (name, value) = rest.split_once(": ").ok_or("a header is a name, a colon, a space and a value")?;
            DemandKind::Header(name.to_owned(), decode(value)?)
        }
        "has" if !rest.is_empty() => DemandKind::Has(rest.to_owned()),
        "no" if !rest.is_empty() => DemandKind::No(rest.to_owned()),
        "body" => DemandKind::Body(decode(rest)?),
        "body-size" => DemandKind::BodySize(rest.parse().map_err(|_| "a size is a number")?),
        "body-some" if rest.is_empty() => DemandKind::BodySome,
        "line" => DemandKind::Line(decode(rest)?),
        "no-line" if !rest.is_empty() => DemandKind::NoLine(decode(rest)?),
        _ => return Err(format!("nothing can be demanded with {text:?}")),
    };
    for expected in group {
        // Several body lines are one body.
        match (expected.demands.last_mut(), &kind) {
            (Some(Demand { kind: DemandKind::Body(body), .. }), DemandKind::Body(more)) => body.extend(more),
            _ => expected.demands.push(Demand { line, kind: kind.clone() }),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "row 1, 63: a rule\napp: echo:app\ncase: a\n";

    fn one(text: &str) -> Case {
        let mut cases = parse("f", &format!("{HEADING}{text}")).unwrap();
        assert_eq!(cases.len(), 1);
        cases.remove(0)
    }

    #[test]
    fn a_case_is_read_whole() {
        let case = one("# why\n> GET\\r\\n\n>*3 ab\n>fin\n< 100?\n< 200 keep HEAD 1.0\n< header A: b\n< no C\n");
        assert_eq!((case.name.as_str(), case.line, case.rows.as_slice()), ("1/a", 3, &[1, 63][..]));
        assert_eq!((case.app.as_str(), case.bytes(), case.fin()), ("echo:app", b"GET\r\nababab".to_vec(), true));
        assert_eq!(case.ending, Ending::Close, "a client that has finished is not kept");
        let [interim, last] = &case.expected[..] else { panic!("{case:?}") };
        assert_eq!((interim.status, interim.optional, interim.state), (Some(100), true, State::Interim));
        assert_eq!((last.status, last.head, last.http10, last.line), (Some(200), true, true, 9));
        let kinds: Vec<_> = last.demands.iter().map(|demand| demand.kind.clone()).collect();
        assert_eq!(kinds, [DemandKind::Header("A".into(), b"b".to_vec()), DemandKind::No("C".into())]);
    }

    #[test]
    fn body_lines_are_one_body() {
        let case = one("> x\n< 200 keep\n< body a\\r\\n\n< body b\n");
        assert_eq!(case.expected[0].demands[0].kind, DemandKind::Body(b"a\r\nb".to_vec()));
        assert_eq!(one("> x\n< 200 keep\n< body\n").expected[0].demands[0].kind, DemandKind::Body(Vec::new()));
    }

    #[test]
    fn a_repeated_response_repeats_its_demands() {
        let case = one("> x\n<*3 200 keep\n< body-size 5\n< 400 close\n< body-some\n");
        assert_eq!(case.expected.len(), 4);
        assert!(case.expected.iter().all(|expected| expected.demands.len() == 1));
        assert_eq!(case.ending, Ending::Close);
    }

    #[test]
    fn endings_are_told_apart() {
        assert_eq!(one("> x\n< 200 keep\n").ending, Ending::Keep);
        assert_eq!(one("> x\n< 200 close\n").ending, Ending::Close);
        assert_eq!(one("> x\n< 200 abort\n").ending, Ending::Abort);
        assert_eq!(one("> x\n< 100\n< open\n").ending, Ending::Open);
        assert_eq!(one("> x\n< silent-close\n").ending, Ending::Close);
    }

    #[test]
    fn an_app_above_the_cases_is_everyones_and_one_below_is_its_own() {
        let text =
            "row 2: x\napp: a:b\ncase: x\napp: c:d\n> x\n< open\ncase: y\n> x\n< open\nlimit: z\ncase: z\n> x\n< open";
        let cases = parse("f", text).unwrap();
        let apps: Vec<_> = cases.iter().map(|case| (case.name.as_str(), case.app.as_str())).collect();
        assert_eq!(apps, [("2/x", "c:d"), ("2/y", "a:b"), ("limit/z", "a:b")]);
    }

    #[test]
    fn each_mistake_has_its_own_sentence_and_line() {
        for (text, line, sentence) in [
            ("hello", 1, "a line begins with"),
            ("what: is this", 1, "nothing is called what"),
            ("row x: y", 1, "a row is a small number"),
            ("case: a", 1, "under a row or a limit"),
            ("row 1: x\ncase: A B", 2, "lower case letters"),
            ("> x", 1, "after a case:"),
            ("< open", 1, "after a case:"),
            ("row 1: x\ncase: a\n> x\n< open", 4, "has no app"),
        ] {
            let refusal = parse("f", text).unwrap_err();
            assert!(refusal.line == line && refusal.reason.contains(sentence), "{text:?}: {refusal}");
        }
        for (text, line, sentence) in [
            (">x", 4, "comes before the bytes"),
            (">*1 x", 4, "a number above 1"),
            ("> ", 4, "sends nothing"),
            ("> x ", 4, "invisible"),
            (">fin\n> x", 5, "after >fin"),
            ("> x\n< open\n> y", 6, "comes before what is expected"),
            ("> x\n< open\n< 200 keep", 6, "after the end"),
            ("> x\n< 400 close\n< 200 keep", 6, "after the one that ends"),
            ("> x\n< 200", 5, "followed by keep"),
            ("> x\n< 100 keep", 5, "followed by keep"),
            ("> x\n< 2x0 keep", 5, "three digits"),
            ("> x\n< 200 keep GET", 5, "says nothing of a request"),
            ("> x\n< body a", 5, "after the response"),
            ("> x\n< 200 keep\n< bodies a", 6, "nothing can be demanded"),
            ("> x\n< 200 keep\n< header A", 6, "a colon, a space"),
            ("> x\n< 200 keep\n< body-size x", 6, "a size is a number"),
            ("> x", 4, "expects nothing"),
            ("< open", 4, "does nothing"),
            ("> x\n< 100", 5, "say < open"),
            ("> x\n< 400 close\n< open", 6, "ends twice"),
            (">fin\n< open", 5, "can't be open"),
        ] {
            let refusal = parse("f", &format!("{HEADING}{text}")).unwrap_err();
            assert!(refusal.line == line && refusal.reason.contains(sentence), "{text:?}: {refusal}");
        }
    }
}
