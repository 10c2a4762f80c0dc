//! Services of the tower family, written by hand: what the wire cases and the tests of `ringway::tower` are served by.

pub mod namesakes;
