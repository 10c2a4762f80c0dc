//! What a generator reads of an answer: that it is a 200, and where it ends.
//! This module performs no I/O.

use crate::{Malformed, RECEIVE_SIZE};

/// The answer to the one request that is in flight on a connection.
#[derive(Default)]
pub struct Reply {
    /// The start of an unfinished head.
    head: Vec<u8>,
    /// Once the head is whole, bytes of the body that are still to come.
    missing_size: Option<usize>,
}

impl Reply {
    /// Takes received bytes; true is the end of the answer, after which the next one may begin.
    ///
    /// An answer that is not a 200 with a Content-Length, and bytes after its end, are malformed.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        let body_size = match self.missing_size {
            Some(_) => bytes.len(),
            None if self.head.is_empty() => match self.begin(bytes)? {
                Some(head_size) => bytes.len() - head_size,
                None => {
                    self.head.extend_from_slice(bytes);
                    return Ok(false);
                }
            },
            None => {
                let mut head = std::mem::take(&mut self.head);
                head.extend_from_slice(bytes);
                match self.begin(&head)? {
                    Some(head_size) => head.len() - head_size,
                    None if head.len() > RECEIVE_SIZE => return Err(Malformed),
                    None => {
                        self.head = head;
                        return Ok(false);
                    }
                }
            }
        };
        let missing_size = self.missing_size.and_then(|size| size.checked_sub(body_size)).ok_or(Malformed)?;
        self.missing_size = (missing_size > 0).then_some(missing_size);
        Ok(missing_size == 0)
    }

    /// Parses a head, and notes the size of its body if it is whole.
    fn begin(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(head_size)) if response.code == Some(200) => {
                let mut lengths =
                    response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("content-length"));
                let length = lengths.next().and_then(|field| str::from_utf8(field.value).ok()?.parse().ok());
                self.missing_size = Some(length.ok_or(Malformed)?);
                Ok(Some(head_size))
            }
            Ok(httparse::Status::Partial) => Ok(None),
            Ok(httparse::Status::Complete(_)) | Err(_) => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 5\r\n\r\nhello";

    #[test]
    fn ends_with_the_last_byte_at_every_split() {
        for split in 1..ANSWER.len() {
            let mut reply = Reply::default();
            for _ in 0..2 {
                assert!(!reply.receive(&ANSWER[..split]).unwrap(), "split at {split}");
                assert!(reply.receive(&ANSWER[split..]).unwrap(), "split at {split}");
            }
        }
        let mut reply = Reply::default();
        let ends: Vec<bool> = ANSWER.chunks(1).map(|byte| reply.receive(byte).unwrap()).collect();
        assert_eq!(ends.iter().position(|end| *end), Some(ANSWER.len() - 1));
        assert!(Reply::default().receive(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap());
    }

    #[test]
    fn refuses_other_answers() {
        for wrong in [
            "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(Reply::default().receive(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
