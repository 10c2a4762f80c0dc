//! The fuzzers' entries into the protocol's pure parts, and the second reading that they are held against.
//!
//! Each entry takes any bytes and panics where a promise is broken. `fuzz/` calls them with bytes of its own
//! making, the unit tests with those of `tests/wire/`. No I/O.

mod chunked;
mod forwarded;
mod head;
pub(crate) mod pieces;
pub(crate) mod reader;
mod target;

pub use chunked::chunked;
pub use forwarded::{forwarded, proxy_protocol};
pub use head::head;
pub use target::target;

#[cfg(test)]
pub(crate) mod seeds;

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn the_wire_cases_break_no_promise() {
        for bytes in seeds::wire_cases() {
            for cut in [0, 1, 7, 200] {
                super::head(&[&[cut, 0, 0, 0], &bytes[..]].concat());
                super::head(&[&[cut, 40, 9, 3], &bytes[..]].concat());
            }
            for words in bytes.split(|byte| *byte == b'\r').filter_map(|line| line.split(|byte| *byte == b' ').nth(1)) {
                for method in 0..4 {
                    super::target(&[&[method], words].concat());
                }
            }
            super::forwarded(&bytes);
            for start in 0..4 {
                super::proxy_protocol(&[&[start], &bytes[..bytes.len().min(200)]].concat());
            }
            let behind_head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            for cut in [0, 1, 7, 200] {
                super::chunked(&[&[cut, 0, 0, 0], &bytes[behind_head..]].concat());
                super::chunked(&[&[cut, 9, 4, 30], &bytes[behind_head..]].concat());
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_proxies_say_is_read_alike(lines in proptest::collection::vec(line(), 0..4)) {
            super::forwarded(lines.join("\n").as_bytes());
        }

        #[test]
        fn headers_of_proxies_get_one_verdict(start: u8, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            super::proxy_protocol(&[&[start], &bytes[..]].concat());
        }
    }

    /// A field made of words that fit, and some that do not.
    fn line() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::strategy::Strategy;
        const WORDS: &[&str] = &[
            "1.2.3.4",
            "10.0.0.1",
            "[::1]",
            "::1",
            "\"[::1]:80\"",
            "\"1.2.3.4:5\"",
            ":80",
            "unknown",
            "_x",
            "for=",
            "proto=",
            "host=",
            "by=",
            "a=",
            "http",
            "https",
            "h.example",
            ", ",
            ",",
            ";",
            "\"",
            "\\",
            " ",
            "for=1.2.3.4",
            "for=10.0.0.1",
        ];
        let words = proptest::collection::vec(proptest::sample::select(WORDS), 0..8);
        (0u8..6, words).prop_map(|(choice, words)| format!("{}{}", char::from(b'0' + choice), words.concat()))
    }
}
