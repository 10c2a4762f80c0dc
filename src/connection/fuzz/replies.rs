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

fn read(rest: &mut &[u8], asked: Asked, has_ended: bool) -> Option<Reply> {
    let read = reply::read(rest, asked, has_ended);
    let reply = read.unwrap_or_else(|malformed| panic!("{malformed}: {:?}", String::from_utf8_lossy(rest)))?;
    assert!(reply.status >= 200, "an interim response that nobody awaits");
    *rest = &rest[reply.size..];
    Some(reply)
}
