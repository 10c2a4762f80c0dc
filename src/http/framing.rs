//! How long a request's body is: RFC 9112 §6.3 as numbered steps, with the strict choice at each.
//!
//! There is no switch that loosens any of it: two readers who disagree here are how requests are smuggled.

use super::error::Error;
use super::head::Version;
use super::header;

/// The framing of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither field: there is no body.
    None,
    /// Content-Length, in bytes.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
}

/// What the two framing fields of a head say, gathered while its fields are looked at.
#[derive(Clone, Copy, Default)]
pub(super) struct Fields {
    length: Option<u64>,
    is_chunked: bool,
    has_transfer_encoding: bool,
}

impl Fields {
    /// A Content-Length field (RFC 9110 §8.6: `1*DIGIT`). A second one is refused, also an equal one.
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.length.is_some() || value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(Error::ContentLength);
        }
        let size = value.iter().try_fold(0u64, |size, digit| {
            size.checked_mul(10).and_then(|size| size.checked_add(u64::from(digit - b'0')))
        });
        self.length = Some(size.ok_or(Error::ContentLength)?);
        Ok(())
    }

    /// A Transfer-Encoding field. `chunked` must be there once, alone and last (RFC 9112 §6.1, §7.1).
    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Error> {
        self.has_transfer_encoding = true;
        for coding in header::list(value) {
            if self.is_chunked || coding.is_empty() {
                return Err(Error::TransferEncoding);
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.is_chunked = true;
            } else if header::is_token(coding) {
                // Whether `chunked` follows, or not, decides between 501 and 400; see step 4.
                continue;
            } else {
                return Err(Error::TransferEncoding);
            }
        }
        Ok(())
    }

    /// Decides. `codings` is every Transfer-Encoding value of the head, in order.
    pub(super) fn decide<'a>(
        self,
        version: Version,
        mut codings: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Framing, Error> {
        // 1. and 2. speak of responses.
        if self.has_transfer_encoding {
            // 3. Both fields: the RFC lets Transfer-Encoding win; that is how one body is read in two ways.
            if self.length.is_some() {
                return Err(Error::BothFramings);
            }
            // HTTP/1.0 has no transfer codings (RFC 9112 §6.1).
            if version == Version::Http10 {
                return Err(Error::TransferEncoding);
            }
            // 4. A coding that is not known is 501, and so is `chunked` over another one.
            let is_unknown = codings.any(|value| header::list(value).any(|coding| !is_chunked(coding)));
            return if is_unknown { Err(Error::TransferCoding) } else { Ok(Framing::Chunked) };
        }
        // 5. An invalid Content-Length was refused when it was met.
        match self.length {
            // 6. A valid one is the length.
            Some(length) => Ok(Framing::Length(length)),
            // 7. Neither: no body.
            None => Ok(Framing::None),
        }
    }
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lengths: &[&str], codings: &[&str], version: Version) -> Result<Framing, Error> {
        let mut fields = Fields::default();
        for length in lengths {
            fields.content_length(length.as_bytes())?;
        }
        for coding in codings {
            fields.transfer_encoding(coding.as_bytes())?;
        }
        fields.decide(version, codings.iter().map(|coding| coding.as_bytes()))
    }

    #[test]
    fn step_3_both_framings() {
        assert_eq!(framing(&["6"], &["chunked"], Version::Http11), Err(Error::BothFramings));
    }

    #[test]
    fn step_4_transfer_encoding() {
        for (codings, expected) in [
            (&["chunked"][..], Ok(Framing::Chunked)),
            (&["Chunked"], Ok(Framing::Chunked)),
            (&["chunked, chunked"], Err(Error::TransferEncoding)),
            (&["chunked", "chunked"], Err(Error::TransferEncoding)),
            (&["chunked, gzip"], Err(Error::TransferEncoding)),
            (&["chunked", "gzip"], Err(Error::TransferEncoding)),
            (&["gzip, chunked"], Err(Error::TransferCoding)),
            (&["identity"], Err(Error::TransferCoding)),
            (&["xchunked"], Err(Error::TransferCoding)),
            (&["chunked;q=1"], Err(Error::TransferEncoding)),
            (&[""], Err(Error::TransferEncoding)),
            (&[",chunked"], Err(Error::TransferEncoding)),
            (&["chunked,"], Err(Error::TransferEncoding)),
            (&["\u{b}chunked"], Err(Error::TransferEncoding)),
        ] {
            assert_eq!(framing(&[], codings, Version::Http11), expected, "{codings:?}");
        }
        assert_eq!(framing(&[], &["chunked"], Version::Http10), Err(Error::TransferEncoding));
    }

    #[test]
    fn steps_5_to_7_content_length() {
        for (lengths, expected) in [
            (&[][..], Ok(Framing::None)),
            (&["0"], Ok(Framing::Length(0))),
            (&["005"], Ok(Framing::Length(5))),
            (&["18446744073709551615"], Ok(Framing::Length(u64::MAX))),
        ] {
            assert_eq!(framing(lengths, &[], Version::Http11), expected);
        }
        for wrong in ["+5", "-1", "0x5", "5_0", "1 0", "5;", "5.0", "", "18446744073709551616", "5, 5", "5,6"] {
            assert_eq!(framing(&[wrong], &[], Version::Http11), Err(Error::ContentLength), "{wrong}");
        }
        assert_eq!(framing(&["5", "5"], &[], Version::Http11), Err(Error::ContentLength));
    }
}
