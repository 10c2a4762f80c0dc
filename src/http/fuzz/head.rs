//! The entry for heads: the scan in any pieces, and what is parsed held against the second reading.

use std::mem::MaybeUninit;

use crate::http::error::Error;
use crate::http::framing::Framing;
use crate::http::head::{FIELD_COUNT_MAX, Field, Found, Head, HeadLimits, Scan, Version};
use crate::http::target::Target;

use super::pieces;
use super::reader::{self, Sizes, Stop};

/// Four bytes of parameters, then what a peer sends: how it is cut, and the limits.
pub fn head(data: &[u8]) {
    let ([how, line_max, head_max, count_max], bytes) = pieces::split::<4>(data);
    let limits = HeadLimits {
        request_line_max: if line_max == 0 { 8192 } else { usize::from(line_max) },
        head_max: if head_max == 0 { 16384 } else { 16 * usize::from(head_max) },
        field_count_max: if count_max == 0 { FIELD_COUNT_MAX } else { usize::from(count_max).min(FIELD_COUNT_MAX) },
    };
    let whole = scan(&limits, bytes, [bytes.len()].into_iter());
    assert_eq!(scan(&limits, bytes, 1..=bytes.len()), whole, "single bytes get the verdict of the whole");
    assert_eq!(scan(&limits, bytes, pieces::ends(how, bytes.len()).into_iter()), whole, "and so do any pieces");
    read_at_once(bytes, whole, &limits);
    let sizes = sizes(&limits);
    match (whole, reader::read_head(bytes, &sizes)) {
        (Ok(None), Err(Stop::More)) => {}
        (Ok(Some(found)), read) => parse(&bytes[found.start..found.end], found, &limits, read),
        (Err(error), Err(Stop::Wrong(statuses))) => {
            assert!(statuses.contains(&error.status().code()), "{error:?} is not one of {statuses:?}");
        }
        (whole, read) => panic!("the scan says {whole:?}, the second reading {read:?}"),
    }
}

/// What is read at once is what is read by looking twice, no more and no less.
fn read_at_once(bytes: &[u8], whole: Result<Option<Found>, Error>, limits: &HeadLimits) {
    let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
    let mut other_slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
    let at_once = Head::parse_front(bytes, &mut slots[..limits.field_count_max], limits);
    let found = whole.ok().flatten().filter(|found| found.start == 0);
    let twice =
        found.and_then(|found| Head::parse(&bytes[..found.end], &mut other_slots[..limits.field_count_max]).ok());
    match (at_once, twice) {
        (None, None) => {}
        (Some(at_once), Some(twice)) => {
            assert_eq!((at_once.method, at_once.target, at_once.version), (twice.method, twice.target, twice.version));
            assert_eq!((at_once.raw, at_once.fields, at_once.facts), (twice.raw, twice.fields, twice.facts));
        }
        (at_once, twice) => panic!("at once {:?}, else {:?}", at_once.map(|h| h.facts), twice.map(|h| h.facts)),
    }
}

/// The verdict of a scan that sees more and more of the bytes.
fn scan(limits: &HeadLimits, bytes: &[u8], ends: impl Iterator<Item = usize>) -> Result<Option<Found>, Error> {
    let mut scan = Scan::default();
    for end in ends {
        if let Some(found) = scan.advance(&bytes[..end], limits)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn sizes(limits: &HeadLimits) -> Sizes {
    Sizes {
        request_line_max: limits.request_line_max,
        head_max: limits.head_max,
        field_count_max: limits.field_count_max,
        body_max: u64::MAX,
        extension_max: 0,
        trailer_max: 0,
        trailer_count_max: 0,
    }
}

/// A head that was found is parsed, and says what the second reading says.
fn parse(bytes: &[u8], found: Found, limits: &HeadLimits, read: Result<(reader::Head, usize, usize), Stop>) {
    assert!(found.end - found.start <= limits.head_max, "no head is larger than the limit");
    assert!(bytes.ends_with(b"\r\n\r\n"), "a head ends in an empty line");
    let mut slots = [const { MaybeUninit::<Field<'_>>::uninit() }; FIELD_COUNT_MAX];
    match (Head::parse(bytes, &mut slots[..limits.field_count_max]), read) {
        (Ok(head), Ok((plain, start, size))) => {
            assert_eq!((found.start, found.end), (start, start + size), "both find the same bytes");
            compare(&head, &plain, bytes);
        }
        (Err(error), Err(Stop::Wrong(statuses))) => {
            assert!(statuses.contains(&error.status().code()), "{error:?} is not one of {statuses:?}");
            assert!(!error.reason().is_empty(), "{error:?} has a sentence");
        }
        (parsed, read) => panic!("parsed as {:?}, read as {read:?}", parsed.map(|head| head.facts)),
    }
}

fn compare(head: &Head<'_>, plain: &reader::Head, bytes: &[u8]) {
    assert_eq!((head.method, head.raw), (&plain.method[..], bytes), "the method, and the head itself");
    assert_eq!(head.version == Version::Http10, plain.is_http10, "the version");
    let fields: Vec<_> =
        head.fields.iter().map(|field| (field.name.as_bytes().to_vec(), field.value.to_vec())).collect();
    assert_eq!(fields, plain.fields, "the fields, in order");
    let facts = head.facts;
    let framing = match facts.framing {
        Framing::None => reader::Framing::None,
        Framing::Length(size) => reader::Framing::Length(size),
        Framing::Chunked => reader::Framing::Chunked,
    };
    assert_eq!(framing, plain.framing, "how long the body is");
    assert_eq!(facts.keep_alive, plain.keep_alive, "whether the connection stays");
    assert_eq!(facts.expect_continue, plain.expects_continue, "whether a 100 is awaited");
    assert_eq!(facts.host, plain.host.as_deref(), "the host");
    assert_eq!(Target::parse(&plain.method, &plain.target), Ok(head.target), "the target");
    // What no reader may ever see in a head that was accepted, whatever both of ours think.
    assert!(head.fields.iter().all(|field| reader::is_token(field.name.as_bytes())), "every name is a token");
    assert!(!head.fields.iter().any(|field| field.value.contains(&b'\n') || field.value.contains(&0)), "no LF, no NUL");
    let count = |name: &str| head.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
    assert!(count("Host") + usize::from(plain.is_http10) >= 1 && count("Host") <= 1, "one host");
    assert!(count("Content-Length") + count("Transfer-Encoding").min(1) <= 1, "one framing");
}
