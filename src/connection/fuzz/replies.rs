//! What the connection said, response by response, for requests that the second reading knows.

use crate::http::fuzz::reader::Head;

use super::reply::{self, Asked, Reply};

/// Reads the final response to a request off the front of `rest`, behind the interim one that it may have.
/// `None` where it is not complete; `has_ended` says that nothing follows.
pub(super) fn read_final(rest: &mut &[u8], head: &Head, has_ended: bool) -> Option<Reply> {
    skip_interim(rest, Some(head));
    read(rest, Asked { head: head.method == b"HEAD", http10: head.is_http10 }, has_ended)
}

/// Reads the response to what was refused, with its head where that was right. It is the last.
pub(super) fn read_refusal(rest: &mut &[u8], head: Option<&Head>, is_head: bool) -> Option<Reply> {
    skip_interim(rest, head);
    read(rest, Asked { head: is_head, http10: false }, true)
}

/// Reads away the interim response that a request may have which expects one: whether it gets one depends on
/// how fast its body comes.
pub(super) fn skip_interim(rest: &mut &[u8], head: Option<&Head>) {
    if head.is_some_and(|head| head.expects_continue)
        && let Some(behind) = rest.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    {
        *rest = behind;
    }
}

/// The body so far of a response to the call with this index, which is not complete.
pub(super) fn read_partial(rest: &[u8], index: usize, is_http10: bool) -> Vec<u8> {
    let head_end = rest.windows(4).position(|window| window == b"\r\n\r\n").expect("the head is whole") + 4;
    let (head, mut rest) = rest.split_at(head_end);
    let field = format!("\r\nX-Call: {index}\r\n");
    assert!(String::from_utf8_lossy(head).contains(&field), "in order");
    if is_http10 {
        return rest.to_vec();
    }
    let mut body = Vec::new();
    while let Some(line_end) = rest.windows(2).position(|window| window == b"\r\n") {
        let line = std::str::from_utf8(&rest[..line_end]).expect("a size is text");
        let size = usize::from_str_radix(line, 16).expect("it is hexadecimal");
        assert!(size > 0, "what is not complete has no end");
        let Some(chunk) = rest.get(line_end + 2..line_end + 4 + size) else { break };
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with its line");
        body.extend_from_slice(&chunk[..size]);
        rest = &rest[line_end + 4 + size..];
    }
    body
}

fn read(rest: &mut &[u8], asked: Asked, has_ended: bool) -> Option<Reply> {
    let read = reply::read(rest, asked, has_ended);
    let reply = read.unwrap_or_else(|malformed| panic!("{malformed}: {:?}", String::from_utf8_lossy(rest)))?;
    assert!(reply.status >= 200, "an interim response that nobody awaits");
    *rest = &rest[reply.size..];
    Some(reply)
}
