//! What an operator can decide, as values: addresses, drivers, limits and deadlines, and the memory they add up to.
//!
//! This module performs no I/O; it reads text and counts.

mod text;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::buffer::BLOCK_SIZE;
use crate::connection::Limits;
use crate::log_writer::HELD_SIZE_MAX;
use crate::worker::{self, LogFormat, Redact};

pub use text::{duration_from, duration_text, size_from, size_text};

/// Everything a server is told before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub binds: Vec<Address>,
    /// Worker threads, at least one.
    pub worker_count: usize,
    /// Which driver.
    pub io: Io,
    /// Whether workers are bound to processors.
    pub pin: Pin,
    /// Sizes and deadlines of a connection.
    pub limits: Limits,
    /// Connections at a time, over all workers, each of which serves one at least; `None` is as many as there are
    /// descriptors for.
    pub connection_count_max: Option<usize>,
    /// Blocks of [`BLOCK_SIZE`] bytes that peers may hold of one worker while they make it wait, and the most that it
    /// keeps; at least 128, of which 64 are with the kernel.
    pub block_count_max: usize,
    /// How long a drain may take before what remains is cut.
    pub graceful_timeout: Duration,
    /// Where completed requests are logged.
    pub access_log: Option<AccessLog>,
    /// How they are.
    pub access_log_format: LogFormat,
    /// What of them is not.
    pub access_log_redact: Redact,
    /// Whether each request has an id that the application and the peer see.
    pub request_id: bool,
    /// Where bodies are spooled that are too large for memory; a disk, not a file system in memory.
    pub spool_dir: PathBuf,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A host (name or IP address, an IPv6 address without its brackets) and a port; port 0 is any free one.
    Inet(String, u16),
    /// A unix socket at this path.
    Unix(PathBuf),
    /// A listening socket that this process inherited.
    Descriptor(i32),
}

/// The driver that workers use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// io_uring where the kernel allows it, else epoll, with one line why.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// Whether each worker stays on one processor of the inherited affinity mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pin {
    /// Yes, unless there are more workers than processors in the mask.
    #[default]
    Auto,
    /// No.
    Off,
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Standard output, written `-`.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}

/// The most memory that peers can make a server hold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Pools of all workers.
    pub blocks: u64,
    /// Bodies that are arriving.
    pub bodies: u64,
    /// State of all connections, and a block for each that is being sent to.
    pub connections: u64,
    /// Lines of the access log that are not written yet.
    pub logs: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            binds: vec![Address::Inet("127.0.0.1".into(), 8888)],
            worker_count: std::thread::available_parallelism().map_or(1, usize::from),
            io: Io::Auto,
            pin: Pin::Auto,
            limits: Limits::default(),
            connection_count_max: None,
            block_count_max: 4096,
            graceful_timeout: Duration::from_secs(30),
            access_log: None,
            access_log_format: LogFormat::default(),
            access_log_redact: Redact::default(),
            request_id: false,
            spool_dir: PathBuf::from("/var/tmp"),
        }
    }
}

impl Config {
    /// Connections at a time where the process may have so many descriptors: what is wanted, but no more than
    /// are left besides those of the server itself and of a reserve for the application, and at least one for
    /// each worker.
    #[must_use]
    pub fn connections(&self, descriptor_count_max: u64) -> usize {
        let own = OWN_DESCRIPTOR_COUNT + self.worker_count * (WORKER_DESCRIPTOR_COUNT + self.binds.len());
        let there_are = usize::try_from(descriptor_count_max).unwrap_or(usize::MAX);
        let allowed = there_are.saturating_sub(own + DESCRIPTOR_RESERVE);
        self.connection_count_max.unwrap_or(usize::MAX).min(allowed).max(self.worker_count)
    }

    /// What the limits add up to where the process may have so many descriptors.
    #[must_use]
    pub fn memory(&self, descriptor_count_max: u64) -> Memory {
        let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let worker_count = wide(self.worker_count);
        let connection_count = wide(self.connections(descriptor_count_max));
        let blocks = wide(self.block_count_max).saturating_mul(wide(BLOCK_SIZE));
        Memory {
            blocks: blocks.saturating_mul(worker_count),
            bodies: self.limits.bodies_max.saturating_mul(worker_count),
            connections: connection_count.saturating_mul(CONNECTION_SIZE + wide(BLOCK_SIZE)),
            logs: self.access_log.as_ref().map_or(0, |_| worker_count.saturating_mul(wide(HELD_SIZE_MAX))),
        }
    }

    /// Bytes of address space that each worker sets aside at its start for its share of the connections. They are no memory
    /// until there are so many.
    #[must_use]
    pub fn room(&self, descriptor_count_max: u64) -> u64 {
        worker::room_size((self.connections(descriptor_count_max) / self.worker_count.max(1)).max(1))
    }

    /// Whether a body may have to be spooled.
    #[must_use]
    pub fn may_spool(&self) -> bool {
        self.limits.body.body_max > self.limits.body_memory
    }
}

impl Memory {
    /// The sum.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.blocks.saturating_add(self.bodies).saturating_add(self.connections).saturating_add(self.logs)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let hint = "write host:port, [::1]:port, :port, unix:/path or fd://N";
        if let Some(path) = text.strip_prefix("unix:") {
            // The kernel keeps 108 bytes for a path and its NUL (unix(7)).
            return match path.len() {
                0 => Err(format!("the path is missing; {hint}")),
                1..=107 => Ok(Address::Unix(PathBuf::from(path))),
                _ => Err("a unix socket's path has at most 107 bytes".into()),
            };
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return match number.parse() {
                Ok(number) if number >= 0 => Ok(Address::Descriptor(number)),
                _ => Err(format!("`{number}` is no descriptor's number; {hint}")),
            };
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("the port is missing; {hint}"));
        };
        let Ok(port) = port.parse::<u16>() else {
            return Err(format!("`{port}` is no port from 0 to 65535; {hint}"));
        };
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(format!("`{host}` is no IPv6 address in brackets; {hint}")),
            None if host.contains(':') => return Err(format!("an IPv6 address needs brackets; {hint}")),
            None if host.contains(['/', ' ', '[', ']', '@']) => return Err(format!("`{host}` is no host; {hint}")),
            None if host.is_empty() => "0.0.0.0",
            None => host,
        };
        Ok(Address::Inet(host.to_string(), port))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Inet(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::Descriptor(number) => write!(f, "fd://{number}"),
        }
    }
}

impl FromStr for Io {
    type Err = String;

    fn from_str(text: &str) -> Result<Io, String> {
        match text {
            "auto" => Ok(Io::Auto),
            "uring" => Ok(Io::Uring),
            "epoll" => Ok(Io::Epoll),
            _ => Err("write auto, uring or epoll".into()),
        }
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Pin, String> {
        match text {
            "auto" => Ok(Pin::Auto),
            "off" => Ok(Pin::Off),
            _ => Err("write auto or off".into()),
        }
    }
}

impl FromStr for AccessLog {
    type Err = String;

    fn from_str(text: &str) -> Result<AccessLog, String> {
        match text {
            "" => Err("write a path, or - for standard output".into()),
            "-" => Ok(AccessLog::Stdout),
            path => Ok(AccessLog::File(PathBuf::from(path))),
        }
    }
}

/// Descriptors that are left for spooled bodies, and for the application: files, sockets to other servers.
const DESCRIPTOR_RESERVE: usize = 16;
/// Standard input, output and error, and the access log.
const OWN_DESCRIPTOR_COUNT: usize = 4;
/// A worker's ring or epoll instance, its waker, the descriptor that it holds in reserve.
const WORKER_DESCRIPTOR_COUNT: usize = 3;
/// What one connection costs beside blocks and body: its slot in the worker's array and, while a request needs
/// one, its exchange. Rounded up generously; the kernel's socket is not counted.
const CONNECTION_SIZE: u64 = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, written) in [
            ("localhost:80", "localhost:80"),
            ("[::1]:0", "[::1]:0"),
            (":8080", "0.0.0.0:8080"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("fd://3", "fd://3"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(written.to_string()));
        }
    }

    #[test]
    fn bad_addresses_are_refused() {
        for text in
            ["", "80", "host", "host:", "host:65536", "::1:80", "[::1:80", "[x]:80", "unix:", "fd://x", "fd://-1"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn connections_leave_descriptors_to_others() {
        let mut config = Config { worker_count: 2, ..Config::default() };
        assert_eq!(config.connections(1024), 1024 - 4 - 2 * 4 - 16);
        config.connection_count_max = Some(100);
        assert_eq!(config.connections(1024), 100);
        assert_eq!(config.connections(64), 64 - 4 - 2 * 4 - 16);
        assert_eq!(config.connections(20), 2, "each worker serves one");
        assert_eq!(config.connections(u64::MAX), 100);
    }

    #[test]
    fn room_is_set_aside_for_the_connections_of_each_worker() {
        let config =
            |worker_count| Config { worker_count, connection_count_max: Some(20_000_000), ..Config::default() };
        assert_eq!(config(1).room(u64::MAX), 20 << 20);
        assert_eq!(config(4).room(u64::MAX), 20 << 20, "2^20 connections each, and no room for more");
        assert_eq!(config(2).room(1024), 20 * (1024 - 4 - 2 * 4 - 16) / 2);
        assert_eq!(config(2).room(0), 20, "each worker serves one");
    }

    #[test]
    fn the_limits_add_up() {
        let config = Config { worker_count: 2, connection_count_max: Some(1000), ..Config::default() };
        let memory = config.memory(1 << 20);
        assert_eq!(memory.blocks, 2 * 4096 * 16 * 1024);
        assert_eq!(memory.bodies, 2 * 256 * 1024 * 1024);
        assert_eq!(memory.connections, 1000 * (2048 + 16 * 1024));
        assert_eq!(memory.total(), memory.blocks + memory.bodies + memory.connections);
        let logging = Config { access_log: Some(AccessLog::Stdout), ..config }.memory(1 << 20);
        assert_eq!((logging.logs, logging.total() - memory.total()), (6 << 20, 6 << 20));
    }
}
