//! One check, five ways: whole, one byte at a time, cut at every place, twice back to back, and with more behind.
//!
//! A case that keeps its connection is followed by a *sentinel*, a request that says `Connection: close`. Its
//! answer proves, without waiting for anything, that the connection was still open, that the server stands
//! exactly at the end of the case, and that nothing else was said. A case that closes is followed by the same
//! bytes, which must go unanswered. The bytes received must be equal however the input was cut.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::case::{Case, Demand, DemandKind, Ending, Event, Expected, State, load_all};
use super::escape::show_ends;
use super::front_end::{Enough, Exchange, FrontEnd, Outcome};
use super::judge::{Difference, canonical, judge};
use super::reply::{Asked, read};

/// The request that proves where the server stands.
pub const SENTINEL: &[u8] = b"GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n";

/// The beginning of a request that never goes on.
pub const PARTIAL: &[u8] = b"GET / HT";

/// Up to this size an input is cut at every place; above it, at a choice of places.
const EVERY_SPLIT_MAX: usize = 600;

/// How many places that choice has; fewer for inputs above [`LARGE`].
const SPLIT_COUNT_MAX: usize = 200;

/// Above this size an input is cut at 12 places, and into pieces instead of bytes.
const LARGE: usize = 20_000;

/// Runs `case` on `front_end` in every way, and answers how many exchanges that took.
///
/// # Errors
/// The first difference, as a text for people: where the case is, which way, what was expected, what came.
pub fn check(front_end: &mut dyn FrontEnd, case: &Case) -> Result<usize, String> {
    let mut run = Run { front_end, case, exchange_count: 0 };
    let sent = [&case.preface[..], &case.bytes()].concat();
    match case.ending {
        Ending::Keep => {
            run.every_cut(&Script::followed(case, 1))?;
            run.whole(&Script::followed(case, 2), "twice back to back")?;
            run.whole(&Script::partial(case), "with the start of another request behind")?;
        }
        Ending::Close | Ending::Abort => {
            run.every_cut(&Script::plain(case))?;
            if !case.fin() {
                for (more, way) in [(SENTINEL, "with another request behind"), (PARTIAL, "with a part of one behind")] {
                    run.whole(&Script { bytes: [&sent, more].concat(), ..Script::plain(case) }, way)?;
                }
            }
        }
        Ending::Open if run.front_end.sees_idle() => run.every_cut(&Script::plain(case))?,
        Ending::Open => {
            run.whole(&Script::plain(case), "whole")?;
            run.every_cut(&Script::given_up(case))?;
        }
    }
    Ok(run.exchange_count)
}

/// Runs every case on front ends made by `make`, one for each of `thread_count` threads, and panics with all
/// failures. With `WIRE_CASE` in the environment, only the cases whose name contains its value are run.
///
/// # Panics
/// Where a case fails, or none was run.
pub fn run<F: FrontEnd>(thread_count: usize, make: impl Fn() -> F + Sync) {
    let wanted = std::env::var("WIRE_CASE").unwrap_or_default();
    let cases = load_all().unwrap_or_else(|refusal| panic!("{refusal}"));
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.name.contains(&wanted)).collect();
    let (next, passed, left_out, exchanges) = <(AtomicUsize, AtomicUsize, AtomicUsize, AtomicUsize)>::default();
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..thread_count.max(1) {
            scope.spawn(|| {
                let mut front_end = make();
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !front_end.serves(&case.app, &case.flags) {
                        left_out.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    match check(&mut front_end, case) {
                        Ok(count) => {
                            passed.fetch_add(1, Ordering::Relaxed);
                            exchanges.fetch_add(count, Ordering::Relaxed);
                        }
                        Err(failure) => failures.lock().expect("no thread panics with it").push(failure),
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no thread panics with it");
    failures.sort();
    let [passed, left_out, exchanges] = [passed, left_out, exchanges].map(AtomicUsize::into_inner);
    println!("{passed} cases passed in {exchanges} exchanges, {left_out} left out");
    assert!(failures.is_empty(), "{} of {} cases failed\n\n{}", failures.len(), cases.len(), failures.join("\n"));
    assert!(passed > 0, "no case was run");
}

/// The places to cut `bytes` in two: all of them where they are few, else those next to a CR, an LF, a border of
/// the case's own pieces and both ends, thinned out evenly to a bounded number.
#[must_use]
pub fn splits(bytes: &[u8], borders: &[usize]) -> Vec<usize> {
    let size = bytes.len();
    if size <= EVERY_SPLIT_MAX {
        return (1..size).collect();
    }
    let line_ends = bytes.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\r' | b'\n')).map(|(at, _)| at);
    let near = |at: usize| at.saturating_sub(1)..=at + 1;
    let inside = |at: &usize| *at > 0 && *at < size;
    let always: BTreeSet<usize> = borders.iter().copied().chain([1, size - 1]).filter(inside).collect();
    let places: BTreeSet<usize> = line_ends.chain(borders.iter().copied()).flat_map(near).filter(inside).collect();
    let count_max = if size > LARGE { 12 } else { SPLIT_COUNT_MAX };
    let thinned = places.iter().copied().step_by(places.len().div_ceil(count_max).max(1));
    let always = always.iter().copied().step_by(always.len().div_ceil(count_max).max(1));
    let chosen: BTreeSet<usize> = thinned.chain(always).collect();
    chosen.into_iter().collect()
}

/// What is sent in one go at a case, and what must come of it.
struct Script {
    bytes: Vec<u8>,
    borders: Vec<usize>,
    fin: bool,
    expected: Vec<Expected>,
    ending: Ending,
}

impl Script {
    /// The case as it is written.
    fn plain(case: &Case) -> Script {
        let mut borders = Vec::new();
        let mut at = case.preface.len();
        for event in &case.segments {
            match event {
                Event::Bytes(bytes) => at += bytes.len(),
                Event::Fin => {}
            }
            borders.push(at);
        }
        let (expected, ending) = (case.expected.clone(), case.ending);
        let bytes = [&case.preface[..], &case.bytes()].concat();
        Script { bytes, borders, fin: case.fin(), expected, ending }
    }

    /// The case `count` times, then the sentinel.
    fn followed(case: &Case, count: usize) -> Script {
        let mut script = Script::plain(case);
        script.bytes = [&case.preface[..], &case.bytes().repeat(count)].concat();
        script.bytes.extend_from_slice(SENTINEL);
        let mut expected: Vec<Expected> = (0..count).flat_map(|_| case.expected.iter().cloned()).collect();
        expected.push(sentinel_answer(case));
        Script { expected, ending: Ending::Close, ..script }
    }

    /// The case, then the beginning of a request.
    fn partial(case: &Case) -> Script {
        let script = Script::plain(case);
        Script { bytes: [&script.bytes, PARTIAL].concat(), ending: Ending::Open, ..script }
    }

    /// A case that stays open, but the client finishes: the server may say that the request is not whole.
    fn given_up(case: &Case) -> Script {
        let mut script = Script::plain(case);
        let complaint = Expected::new(case.line, Some(400), State::Close);
        script.expected.push(Expected { optional: true, ..complaint });
        Script { fin: true, ending: Ending::Close, ..script }
    }
}

/// What the case's app answers to the sentinel. The echo tells which bytes it took for the request.
fn sentinel_answer(case: &Case) -> Expected {
    let bundled = ["hello:", "echo:", "environ:"].iter().any(|module| case.app.starts_with(module));
    let mut answer = Expected::new(case.line, bundled.then_some(200), State::Close);
    if case.app == "echo:app" {
        let body = SENTINEL[..SENTINEL.len() - 2].to_vec();
        answer.demands.push(Demand { line: case.line, kind: DemandKind::Body(body) });
    }
    answer
}

struct Run<'a> {
    front_end: &'a mut dyn FrontEnd,
    case: &'a Case,
    exchange_count: usize,
}

impl Run<'_> {
    /// Whole, byte by byte, and in two parts, all with the same result.
    fn every_cut(&mut self, script: &Script) -> Result<(), String> {
        let reference = self.whole(script, "whole")?;
        let bytes = &script.bytes[..];
        if bytes.len() < 2 {
            return Ok(());
        }
        let piece_size = bytes.len().div_ceil(LARGE);
        let pieces: Vec<&[u8]> = bytes.chunks(piece_size).collect();
        self.same(script, &pieces, &reference, || format!("in pieces of {piece_size} byte(s)"))?;
        let places = splits(bytes, &script.borders);
        let step = places.len().div_ceil(self.front_end.split_count_max()).max(1);
        for &at in places.iter().skip(self.case.line % step).step_by(step) {
            let (first, second) = bytes.split_at(at);
            self.same(script, &[first, second], &reference, || format!("split at byte {at} of {}", bytes.len()))?;
        }
        Ok(())
    }

    fn whole(&mut self, script: &Script, way: &str) -> Result<Outcome, String> {
        let segments: &[&[u8]] = if script.bytes.is_empty() { &[] } else { &[&script.bytes] };
        let outcome = self.exchange(script, segments);
        self.judge(script, &outcome, way)?;
        Ok(outcome)
    }

    fn same(
        &mut self,
        script: &Script,
        segments: &[&[u8]],
        reference: &Outcome,
        way: impl Fn() -> String,
    ) -> Result<(), String> {
        let outcome = self.exchange(script, segments);
        // A break may lose bytes on their way, and whether a half request is complained about is the server's choice.
        let exact = script.ending != Ending::Abort;
        if exact && outcome.end == reference.end && outcome.bytes == reference.bytes {
            return Ok(());
        }
        self.judge(script, &outcome, &way())?;
        if exact && canonical(&script.expected, &outcome) != canonical(&script.expected, reference) {
            let whole = show_ends(&reference.bytes, "      ");
            let text = format!("expected the same bytes as when sent whole, which were\n{whole}");
            return Err(self.complaint(&way(), &Difference { line: self.case.line, text }, &outcome));
        }
        Ok(())
    }

    fn exchange(&mut self, script: &Script, segments: &[&[u8]]) -> Outcome {
        self.exchange_count += 1;
        let enough = |bytes: &[u8]| has_all(&script.expected, bytes);
        let stays_open = matches!(script.ending, Ending::Keep | Ending::Open);
        let enough = stays_open.then_some(&enough as Enough<'_>);
        self.front_end.exchange(&Exchange {
            app: &self.case.app,
            flags: &self.case.flags,
            segments,
            fin: script.fin,
            enough,
        })
    }

    fn judge(&self, script: &Script, outcome: &Outcome, way: &str) -> Result<(), String> {
        let judged = judge(&script.expected, script.ending, self.case.line, outcome);
        judged.map_err(|difference| self.complaint(way, &difference, outcome))
    }

    fn complaint(&self, way: &str, difference: &Difference, outcome: &Outcome) -> String {
        let Case { file, name, app, .. } = self.case;
        let Difference { line, text } = difference;
        let (over, end) = (self.front_end.name(), outcome.end);
        let received = show_ends(&outcome.bytes, "      ");
        format!("{file}:{line}: {name} ({app}) over {over}, {way}\n    {text}\n    received, then {end:?}:\n{received}")
    }
}

/// Whether `bytes` hold as many responses as are expected, or something that will never be one.
fn has_all(expected: &[Expected], bytes: &[u8]) -> bool {
    let mut rest = bytes;
    for wanted in expected.iter().filter(|wanted| !wanted.optional) {
        loop {
            match read(rest, Asked { head: wanted.head, http10: wanted.http10 }, false) {
                Ok(Some(reply)) => {
                    rest = &rest[reply.size..];
                    if reply.status >= 200 || wanted.state == State::Interim {
                        break;
                    }
                }
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_input_is_cut_everywhere() {
        assert_eq!(splits(b"abcd", &[]), [1, 2, 3]);
        assert_eq!(splits(&[b'a'; 600], &[]).len(), 599);
        assert!(splits(b"a", &[]).is_empty());
    }

    #[test]
    fn a_long_input_is_cut_around_its_line_ends_and_borders() {
        let mut bytes = vec![b'a'; 2000];
        bytes[700] = b'\r';
        bytes[701] = b'\n';
        let places = splits(&bytes, &[1500, 2000]);
        assert_eq!(places, [1, 699, 700, 701, 702, 1499, 1500, 1501, 1999]);
    }

    #[test]
    fn a_long_input_is_cut_a_bounded_number_of_times() {
        assert!(splits(&b"a\r\n".repeat(2000), &[]).len() <= SPLIT_COUNT_MAX + 2);
        let borders: Vec<usize> = (0..2000).map(|at| at * 30).collect();
        assert!(splits(&b"a\r\n".repeat(20_000), &borders).len() <= 26);
    }
}
