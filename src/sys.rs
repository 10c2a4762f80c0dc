//! The system calls that no crate of ours wraps, each behind a safe function.
//!
//! This module holds no state beyond the descriptors it is given.

mod calendar;
#[cfg(feature = "cli")]
pub mod children;
pub mod memory;
#[cfg(feature = "cli")]
pub mod mimalloc;
mod outlet;
pub mod process;
#[cfg(feature = "cli")]
pub mod service;
pub mod shared;
pub mod write;

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

pub use calendar::{fine_timestamp, local_time, timestamp};
pub use outlet::Outlet;

/// An error number of the kernel, as `errno` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

/// The address of the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An IPv4 or IPv6 address and port.
    Inet(SocketAddr),
    /// An address whose port is not known: a proxy has said it without one.
    Portless(IpAddr),
    /// A unix socket; its client has no name of interest.
    Unix,
}

/// Whether a descriptor has something to be read or accepted now.
#[must_use]
pub fn is_readable(descriptor: &OwnedFd) -> bool {
    let mut poll = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry is passed, and the kernel writes to it alone.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 && poll.revents & libc::POLLIN != 0 }
}

impl Peer {
    /// Its IP address, if it has one.
    #[must_use]
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::Inet(address) => Some(address.ip()),
            Peer::Portless(ip) => Some(ip),
            Peer::Unix => None,
        }
    }

    /// Its port, if that is known.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        match self {
            Peer::Inet(address) => Some(address.port()),
            Peer::Portless(_) | Peer::Unix => None,
        }
    }
}

/// Drops every SYN that a listening TCP socket is sent from now on: its handshakes that have begun come to their end, and
/// others do not begin (socket(7), SO_ATTACH_FILTER; the filter sees the TCP header). Connections that are accepted inherit
/// the filter, which leaves them alone. Where it cannot be attached, as to a unix socket, nothing changes.
pub fn refuse_newcomers(listener: &OwnedFd) {
    const SYN: u32 = 2;
    const FLAGS_OFFSET: u32 = 13;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, FLAGS_OFFSET),
        step((libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16, 0, 1, SYN),
        step((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
        step((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX),
    ];
    if let Ok(address) = socket2::SockRef::from(listener).local_addr()
        && address.as_socket().is_some()
    {
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        let size = size_of::<libc::sock_fprog>() as libc::socklen_t;
        let (level, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
        // SAFETY: the program and its steps live through the call, which copies them.
        unsafe { libc::setsockopt(listener.as_raw_fd(), level, option, (&raw const program).cast(), size) };
    }
}

/// Wakes a worker from another thread: an eventfd that the worker's driver waits on.
#[derive(Clone, Debug)]
pub struct Waker {
    eventfd: Arc<OwnedFd>,
}

/// A descriptor held in reserve, to be given up when there is no other.
#[derive(Debug)]
pub struct Reserve {
    descriptor: Option<OwnedFd>,
}

impl Reserve {
    /// Takes a descriptor, if there is one.
    #[must_use]
    pub fn new() -> Reserve {
        let mut reserve = Reserve { descriptor: None };
        reserve.restore();
        reserve
    }

    /// Gives the descriptor up. Answers whether there was one.
    pub fn release(&mut self) -> bool {
        self.descriptor.take().is_some()
    }

    /// Takes a descriptor again, if it has been given up and there is one.
    pub fn restore(&mut self) {
        if self.descriptor.is_none() {
            self.descriptor = new_eventfd().ok();
        }
    }
}

impl Default for Reserve {
    fn default() -> Reserve {
        Reserve::new()
    }
}

/// An eventfd, non-blocking and closed on exec.
fn new_eventfd() -> io::Result<OwnedFd> {
    // SAFETY: eventfd takes no pointer.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Errno {
    /// The error number of `error`, or `EIO` where it has none.
    #[must_use]
    pub fn of(error: &io::Error) -> Errno {
        Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The error of the last system call of this thread.
    #[must_use]
    pub fn last() -> Errno {
        Errno::of(&io::Error::last_os_error())
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.0)
    }
}

/// Shuts down the sending half of a socket. That a peer has gone already is no news.
pub(crate) fn shutdown(descriptor: RawFd) {
    // SAFETY: no pointer is passed.
    unsafe { libc::shutdown(descriptor, libc::SHUT_WR) };
}

/// Closes a descriptor that nobody else owns.
pub(crate) fn close(descriptor: RawFd) {
    // SAFETY: the caller gives the descriptor up.
    drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
}

/// How much the peer of a socket has taken, as a number of which only the growth means something. `sent` bytes are
/// with the kernel; over TCP it tells what has been acknowledged, elsewhere what is still queued, in pieces.
pub(crate) fn taken(descriptor: RawFd, sent: u64) -> u64 {
    acknowledged(descriptor).unwrap_or_else(|| QUEUED_MAX + sent - queued(descriptor))
}

/// Bytes that the peer of a TCP connection has acknowledged (`tcpi_bytes_acked`, Linux 4.1).
fn acknowledged(descriptor: RawFd) -> Option<u64> {
    let mut info = [0u8; 256];
    let mut size = info.len() as libc::socklen_t;
    // SAFETY: the buffer is as large as `size` says, and the kernel writes no more.
    let result =
        unsafe { libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut size) };
    // `struct tcp_info`: eight bytes, 24 words, two rates of eight bytes, then this counter.
    let field = info.get(BYTES_ACKED_OFFSET..BYTES_ACKED_OFFSET + 8).filter(|_| result == 0)?;
    field.try_into().ok().map(u64::from_ne_bytes)
}

/// Memory of the bytes that wait in a socket to be taken, at most [`QUEUED_MAX`].
fn queued(descriptor: RawFd) -> u64 {
    let mut size: libc::c_int = 0;
    // SAFETY: the number is what this request writes.
    unsafe { libc::ioctl(descriptor, libc::TIOCOUTQ, &mut size) };
    u64::try_from(size).unwrap_or(0)
}

/// Whether a socket speaks IPv4 or IPv6.
pub(crate) fn is_internet(descriptor: RawFd) -> bool {
    let mut domain: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the number is as large as `size` says, and the kernel writes no more.
    let result =
        unsafe { libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_DOMAIN, (&raw mut domain).cast(), &mut size) };
    result == 0 && matches!(domain, libc::AF_INET | libc::AF_INET6)
}

const QUEUED_MAX: u64 = libc::c_int::MAX as u64;
const BYTES_ACKED_OFFSET: usize = 8 + 24 * 4 + 2 * 8;

/// The address of the other end of a connected socket.
pub(crate) fn peer(descriptor: RawFd) -> Result<Peer, Errno> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut size = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    // SAFETY: the storage is as large as `size` says, and the kernel writes no more.
    let result = unsafe { libc::getpeername(descriptor, storage.as_mut_ptr().cast(), &mut size) };
    if result < 0 {
        return Err(Errno::last());
    }
    // SAFETY: zero bytes are a valid address, and the kernel has written one over them.
    let storage = unsafe { storage.assume_init() };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is what was written.
            let address = unsafe { &*std::ptr::from_ref(&storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Ok(Peer::Inet(SocketAddr::from((ip, u16::from_be(address.sin_port)))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is what was written.
            let address = unsafe { &*std::ptr::from_ref(&storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Ok(Peer::Inet(SocketAddr::from((ip, u16::from_be(address.sin6_port)))))
        }
        _ => Ok(Peer::Unix),
    }
}

/// Nanoseconds on a clock that never goes back (`CLOCK_MONOTONIC`). Every turn reads it, and the standard library's way
/// costs twice as much.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes to one timespec; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    // Neither is negative, and the sum lasts for 584 years.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A number that no other call is likely to answer, in this process or another.
pub(crate) fn random_number() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the pointer is valid for as many bytes as are asked for.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        8 => u64::from_ne_bytes(bytes),
        // Where a sandbox refuses the call: what the standard library seeds its tables with.
        _ => RandomState::new().build_hasher().finish(),
    }
}

impl Waker {
    /// Makes an eventfd, non-blocking and closed on exec.
    ///
    /// # Errors
    /// What eventfd(2) answers; in practice a lack of descriptors.
    pub fn new() -> io::Result<Waker> {
        Ok(Waker { eventfd: Arc::new(new_eventfd()?) })
    }

    /// Wakes the worker. Cheap, callable from any thread; a wake that is already due is joined.
    pub fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight readable bytes. A full counter (EAGAIN) means that a wake is due already.
        unsafe { libc::write(self.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Takes the wakes that have come, so that the descriptor is not readable until the next. Answers whether
    /// there were any.
    pub(crate) fn drain(&self) -> bool {
        let mut count = [0; 8];
        // SAFETY: the buffer is eight writable bytes; the descriptor does not block.
        unsafe { libc::read(self.eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) > 0 }
    }

    /// The descriptor, borrowed.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }

    /// The descriptor that a driver reads or polls.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}
