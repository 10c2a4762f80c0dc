//! The entry for chunked bodies.

use crate::http::chunked::{Chunked, ChunkedLimits, Step};
use crate::http::error::Error;

use super::pieces;
use super::reader::{self, Sizes, Stop};

/// The body and what it took of the bytes; `None` where more must come.
type Decoded = Option<(Vec<u8>, usize)>;

/// Four bytes of parameters, then the bytes behind a head: how they are cut, and the limits.
pub fn chunked(data: &[u8]) {
    let ([how, body_max, extension_max, trailer_max], bytes) = pieces::split::<4>(data);
    let limits = ChunkedLimits {
        body_max: if body_max == 0 { 1 << 20 } else { u64::from(body_max) },
        extension_max: if extension_max == 0 { 4096 } else { usize::from(extension_max) },
        trailer_max: if trailer_max == 0 { 8192 } else { usize::from(trailer_max) },
        trailer_count_max: if trailer_max == 0 { 32 } else { usize::from(trailer_max % 8) },
    };
    let whole = decode(&[bytes], &limits);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(decode(&single, &limits), whole, "single bytes get the verdict of the whole");
    assert_eq!(decode(&pieces::pieces(how, bytes), &limits), whole, "and so do any pieces");
    match (&whole, reader::read_chunks(bytes, &sizes(&limits))) {
        (Ok(None), Err(Stop::More)) => {}
        (Err(error), Err(Stop::Wrong(statuses))) => {
            assert!(statuses.contains(&error.status().code()), "{error:?} is not one of {statuses:?}");
        }
        (Ok(Some((body, size))), Ok((plain, plain_size))) => {
            assert_eq!((body, *size), (&plain, plain_size), "both read the same body");
            assert!(body.len() as u64 <= limits.body_max, "no body is larger than the limit");
            assert_eq!(decode(&[&bytes[..*size]], &limits), whole, "what follows does not matter");
            assert_eq!(decode(&[&bytes[..*size - 1]], &limits), Ok(None), "and the last byte does");
            let again = encode(body);
            assert_eq!(decode(&[&again], &limits), Ok(Some((body.clone(), again.len()))), "it is a body again");
        }
        (whole, read) => panic!("decoded as {whole:?}, read as {read:?}"),
    }
}

fn decode(pieces: &[&[u8]], limits: &ChunkedLimits) -> Result<Decoded, Error> {
    let mut decoder = Chunked::default();
    let (mut body, mut size) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let consumed = match decoder.next(rest, limits)? {
                Step::Data { consumed, data } => {
                    assert!(!data.is_empty(), "data are bytes");
                    assert_eq!(&rest[consumed - data.len()..consumed], data, "data end what was consumed");
                    body.extend_from_slice(data);
                    consumed
                }
                Step::More { consumed } => {
                    assert_eq!(consumed, rest.len(), "more is asked for when all is consumed");
                    consumed
                }
                Step::End { consumed } => return Ok(Some((body, size + consumed))),
            };
            assert!(consumed > 0, "each step goes on");
            size += consumed;
            rest = &rest[consumed..];
        }
    }
    Ok(None)
}

fn encode(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    if !body.is_empty() {
        bytes = [format!("{:X}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat();
    }
    [&bytes[..], b"0\r\n\r\n"].concat()
}

fn sizes(limits: &ChunkedLimits) -> Sizes {
    Sizes {
        request_line_max: 0,
        head_max: 0,
        field_count_max: 0,
        body_max: limits.body_max,
        extension_max: limits.extension_max,
        trailer_max: limits.trailer_max,
        trailer_count_max: limits.trailer_count_max,
    }
}
