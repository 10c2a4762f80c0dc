//! How a fuzzer's bytes become numbers and pieces. Pure functions.

/// Where the pieces of `size` bytes end, by a byte of the input: in one piece, in single bytes, in pieces of
/// one size, or in pieces of any size.
pub(crate) fn ends(how: u8, size: usize) -> Vec<usize> {
    let mut dice = Dice::new(how);
    let mut ends = Vec::new();
    let mut end = 0;
    while end < size {
        end += match how {
            0 => size,
            1..=63 => usize::from(how),
            64..=191 => 1 + dice.below(usize::from(how) - 60),
            192..=255 => 1 + dice.below(1 + size / 3),
        };
        ends.push(end.min(size));
    }
    ends
}

/// `bytes` in such pieces.
pub(crate) fn pieces(how: u8, bytes: &[u8]) -> Vec<&[u8]> {
    let mut start = 0;
    ends(how, bytes.len()).into_iter().map(|end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
}

/// The first `N` bytes, zero where there are fewer, and the rest.
pub(crate) fn split<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    let mut front = [0; N];
    let size = data.len().min(N);
    front[..size].copy_from_slice(&data[..size]);
    (front, &data[size..])
}

/// Numbers that follow from a seed (xorshift).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: impl Into<u64>) -> Dice {
        Dice(seed.into().wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end.max(1)
    }
}
