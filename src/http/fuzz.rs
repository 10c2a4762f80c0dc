//! The fuzzers' entries into the protocol's pure parts, and the second reading that they are held against.
//!
//! Each entry takes any bytes and panics where a promise is broken. `fuzz/` calls them with bytes of its own
//! making, the unit tests with those of `tests/wire/`. No I/O.

mod chunked;
mod head;
pub(crate) mod pieces;
pub(crate) mod reader;
mod target;

pub use chunked::chunked;
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
            let behind_head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            for cut in [0, 1, 7, 200] {
                super::chunked(&[&[cut, 0, 0, 0], &bytes[behind_head..]].concat());
                super::chunked(&[&[cut, 9, 4, 30], &bytes[behind_head..]].concat());
            }
        }
    }
}
