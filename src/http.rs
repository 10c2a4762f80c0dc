//! HTTP/1.1 as RFC 9110 and RFC 9112 have it, and stricter where they leave a choice. Sans-IO: no socket,
//! no clock, no allocation, and no byte of a peer that can make it panic.

mod byte_class;
pub mod chunked;
pub mod error;
pub mod forwarded;
pub mod framing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
pub mod head;
pub mod header;
pub mod proxies;
pub mod proxy_protocol;
pub mod status;
pub mod target;
