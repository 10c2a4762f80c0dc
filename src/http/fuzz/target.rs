//! The entry for targets and hosts.

use crate::http::target::{Target, decode_into, is_authority};

use super::pieces;
use super::reader::{self, Form};

/// One byte that chooses the method, then a target, which is tried as a host, too.
pub fn target(data: &[u8]) {
    let ([choice], bytes) = pieces::split::<1>(data);
    let method: &[u8] = [&b"GET"[..], b"OPTIONS", b"CONNECT", b"POST"][usize::from(choice % 4)];
    assert_eq!(is_authority(bytes), reader::is_host(bytes), "a host is one to both");
    let parsed = Target::parse(method, bytes).ok();
    let read = reader::read_target(method, bytes);
    match (parsed, &read) {
        (None, None) => return,
        (Some(Target::Origin { path, query }), Some(Form::Origin { path: plain_path, query: plain_query })) => {
            assert_eq!((path, query), (*plain_path, *plain_query), "path and query");
            assert_eq!(join(path, query), bytes, "nothing of the target is lost");
        }
        (
            Some(Target::Absolute { authority, path, query }),
            Some(Form::Absolute { authority: plain, path: plain_path, query: plain_query }),
        ) => {
            assert_eq!((authority, path, query), (*plain, *plain_path, *plain_query), "authority, path and query");
            assert!(reader::is_host(authority), "the authority is a host");
            assert!(bytes.ends_with(&join(path, query)) || path == b"/", "nothing of the target is lost");
        }
        (Some(Target::Asterisk), Some(Form::Asterisk)) => assert_eq!((method, bytes), (&b"OPTIONS"[..], &b"*"[..])),
        (Some(Target::Authority(authority)), Some(Form::Authority)) => {
            assert_eq!((method, authority), (&b"CONNECT"[..], bytes), "an authority is for CONNECT");
        }
        (parsed, read) => panic!("parsed as {parsed:?}, read as {read:?}"),
    }
    assert!(bytes.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#'), "no control, no blank, no fragment");
    if let Some(Target::Origin { path, .. } | Target::Absolute { path, .. }) = parsed {
        let mut decoded = b"kept".to_vec();
        decode_into(path, &mut decoded);
        assert_eq!(Some(&decoded[4..]), reader::unescape(path).as_deref(), "decoded once");
        assert!(path.starts_with(b"/") && !decoded.contains(&0), "a path is rooted and has no NUL");
    }
}

fn join(path: &[u8], query: Option<&[u8]>) -> Vec<u8> {
    match query {
        Some(query) => [path, b"?", query].concat(),
        None => path.to_vec(),
    }
}
