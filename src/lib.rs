//! Ringway: an io_uring HTTP server for Linux with a gateway interface.

pub mod buffer;
pub mod driver;
pub mod sys;
pub mod timer;
