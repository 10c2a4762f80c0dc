//! What the frameworks share: one command line, and the bodies that they answer with.
//!
//! Each is the least application that its documentation would lead an engineer to, on one worker and at its
//! defaults. Three routes: `GET /` answers [`HELLO`], `POST /echo` the request's body, `GET /static`
//! [`STATIC_BODY`] by whatever way the framework has to send memory without a copy.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

/// The body of `GET /`.
pub const HELLO: &str = "Hello, World!";

/// The body of `GET /static`.
pub static STATIC_BODY: [u8; 256 * 1024] = [b'x'; 256 * 1024];

/// The largest body that a framework with a limit is told to take.
pub const BODY_SIZE_MAX: usize = crate::echo::BODY_SIZE_MAX;

/// Runs a framework by its command line: `NAME PORT`.
pub fn run<E: Display>(name: &str, serve: impl FnOnce(SocketAddr) -> Result<(), E>) -> ExitCode {
    let Some(port) = port(std::env::args().skip(1)) else {
        eprintln!("usage: {name} PORT");
        return ExitCode::from(2);
    };
    match serve(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn port(mut words: impl Iterator<Item = String>) -> Option<u16> {
    let port = words.next()?.parse().ok()?;
    words.next().is_none().then_some(port)
}

#[cfg(test)]
mod tests {
    #[test]
    fn takes_one_port() {
        let port = |line: &str| super::port(line.split_whitespace().map(String::from));
        assert_eq!(port("8080"), Some(8080));
        for wrong in ["", "http", "70000", "80 81"] {
            assert_eq!(port(wrong), None, "{wrong}");
        }
    }
}
