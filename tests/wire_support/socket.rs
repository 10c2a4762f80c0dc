//! The front end for anything that listens on TCP.
//!
//! How it decides, without guessing at times, what state a connection is in:
//! * *Closed* and *Aborted* are events: an end of file, a reset. It reads until one comes, and only a server
//!   that is wrong ever makes it wait for [`PATIENCE`]. That begins anew with each byte that moves in either direction,
//!   so that a machine which is slow with thousands of pieces has the time that they take.
//! * *Open* can't be seen from outside. It is asked for once a case, after everything that is expected has
//!   arrived, and then means that nothing came for [`QUIET`]. A slow machine can make this miss a fault, but
//!   never report one that isn't there; the sentinel and the FIN of the other ways find it without a clock.
//!
//! Segments are separate writes without Nagle's delay, but the kernel may hand several to one receive: it is
//! the front ends in memory that prove independence of segmentation, and this one that nothing else differs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::front_end::{End, Exchange, FrontEnd, Outcome};

/// How long the server may neither say nor take anything where it must.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long silence must last to be taken for waiting.
pub const QUIET: Duration = Duration::from_millis(50);

/// Far more than any case is answered with: a server that does not come to an end is not read for ever.
const RECEIVED_SIZE_MAX: usize = 64 << 20;

/// A choice of places to cut at, another one in each case.
const SPLIT_COUNT_MAX: usize = 16;

/// Connects anew for each exchange, to the address that serves the app.
pub struct SocketFrontEnd<F> {
    name: String,
    address: F,
}

impl<F: Fn(&str, &str) -> Option<SocketAddr>> SocketFrontEnd<F> {
    /// A front end that messages call `name`; `address` tells where an app is served with
    /// these flags, if it is.
    pub fn new(name: impl Into<String>, address: F) -> SocketFrontEnd<F> {
        SocketFrontEnd { name: name.into(), address }
    }
}

impl<F: Fn(&str, &str) -> Option<SocketAddr>> FrontEnd for SocketFrontEnd<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn serves(&self, app: &str, flags: &str) -> bool {
        (self.address)(app, flags).is_some()
    }

    fn sees_idle(&self) -> bool {
        false
    }

    fn split_count_max(&self) -> usize {
        SPLIT_COUNT_MAX
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let address = (self.address)(exchange.app, exchange.flags).expect("only the cases of served apps are run");
        let stream = TcpStream::connect(address).expect("the server accepts connections");
        stream.set_nodelay(true).expect("a TCP socket has this option");
        let (segments, fin) = (exchange.segments, exchange.fin);
        let sent_size = AtomicUsize::new(0);
        // A writer of its own, because a server that can't send stops receiving.
        std::thread::scope(|scope| {
            scope.spawn(|| send(&stream, segments, fin, &sent_size));
            let outcome = receive(&stream, exchange, &sent_size);
            // The writer need not finish; it fails after a reset, where nobody writes any more.
            stream.shutdown(Shutdown::Both).ok();
            outcome
        })
    }
}

/// Writes until all is written or the server takes no more, which is for the reader to judge.
fn send(stream: &TcpStream, segments: &[&[u8]], fin: bool, sent_size: &AtomicUsize) {
    stream.set_write_timeout(Some(PATIENCE)).expect("the duration is not zero");
    let written = segments.iter().try_for_each(|segment| {
        let written = write_counted(stream, segment, sent_size);
        std::thread::yield_now();
        written
    });
    if written.is_ok() && fin {
        // It fails if the server has reset the connection, which the reader sees as well.
        stream.shutdown(Shutdown::Write).ok();
    }
}

fn write_counted(mut stream: &TcpStream, mut bytes: &[u8], sent_size: &AtomicUsize) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(size) => {
                sent_size.fetch_add(size, Ordering::Relaxed);
                bytes = &bytes[size..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn receive(mut stream: &TcpStream, exchange: &Exchange<'_>, sent_size: &AtomicUsize) -> Outcome {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    let (mut quiet, mut seen_size) = (false, 0);
    let end = loop {
        quiet = quiet || exchange.enough.is_some_and(|enough| enough(&bytes));
        let patience = if quiet { QUIET } else { PATIENCE };
        stream.set_read_timeout(Some(patience)).expect("the duration is not zero");
        match stream.read(&mut piece) {
            Ok(0) => break End::Closed,
            Ok(size) => bytes.extend_from_slice(&piece[..size]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let moved_size = sent_size.load(Ordering::Relaxed);
                if quiet || moved_size == seen_size {
                    break End::Open;
                }
                seen_size = moved_size;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break End::Aborted,
        }
        if bytes.len() > RECEIVED_SIZE_MAX {
            break End::Open;
        }
    };
    Outcome { bytes, end }
}
