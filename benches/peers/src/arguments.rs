//! The command line of a floor, and the listener that it asks for.

use crate::exchange::Answers;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

/// What the command line asked for.
pub struct Arguments {
    /// The loopback port to listen on.
    pub port: u16,
    /// What requests are answered with.
    pub service: Service,
}

/// What requests are answered with: two loops, so that neither pays for the other.
pub enum Service {
    /// One body for all, which the floor sends from where it lies.
    Canned(Vec<u8>),
    /// The request's own body, or `Hello, World!` to a request that has none.
    Echo,
}

/// Runs a floor by its command line: `NAME PORT [--body N | --echo]`.
pub fn run(
    name: &str,
    canned: impl FnOnce(TcpListener, Answers) -> io::Result<()>,
    echo: impl FnOnce(TcpListener) -> io::Result<()>,
) -> ExitCode {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("usage: {name} PORT [--body BYTES | --echo]");
        return ExitCode::from(2);
    };
    let outcome = listen(arguments.port).and_then(|listener| {
        eprintln!("{name}: http://{}", listener.local_addr()?);
        match arguments.service {
            Service::Canned(body) => canned(listener, Answers::new(&body)),
            Service::Echo => echo(listener),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: port {}: {error}", arguments.port);
            ExitCode::FAILURE
        }
    }
}

/// Listens on loopback with a queue deep enough for a generator that opens all its connections at once.
///
/// TCP_NODELAY is set here because accepted sockets inherit it, which saves a call for each of them.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open for the whole block, and the option's value outlives the call. A second
    // listen(2) only replaces the length of the queue, for which the standard library has no argument.
    let failed = unsafe {
        let size = size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, (&raw const on).cast(), size) < 0
            || libc::listen(listener.as_raw_fd(), 4096) < 0
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(listener) }
}

impl Arguments {
    /// Reads `PORT [--body N | --echo]`; `None` is anything else.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let port = words.next()?.parse().ok()?;
        let service = match words.next().as_deref() {
            None => Service::Canned(b"Hello, World!".to_vec()),
            Some("--body") => Service::Canned(vec![b'x'; words.next()?.parse().ok()?]),
            Some("--echo") => Service::Echo,
            Some(_) => return None,
        };
        words.next().is_none().then_some(Arguments { port, service })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Arguments> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn takes_a_port_and_at_most_one_service() {
        assert!(matches!(parse("80").unwrap().service, Service::Canned(body) if body == b"Hello, World!"));
        assert!(matches!(parse("80 --body 3").unwrap().service, Service::Canned(body) if body == b"xxx"));
        assert!(matches!(parse("80 --echo").unwrap(), Arguments { port: 80, service: Service::Echo }));
        for wrong in ["", "http", "70000", "80 --body", "80 --body x", "80 --echo --body 3", "80 --other"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
