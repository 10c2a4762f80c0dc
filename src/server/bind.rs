//! Listening sockets: one for each worker and address.
//!
//! The first socket of an address is bound without `SO_REUSEPORT`, so that another server on the port, be it
//! another ringway, is an error and not a silent sharing of connections. The option is set before it listens,
//! and the further workers' sockets are bound with it: the kernel spreads connections over them.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::Address;
use crate::environ::Origin;
use crate::sys::process;

/// An address with the sockets that listen on it, one for each worker.
pub(super) struct Bound {
    /// As the banner shows it: `http://127.0.0.1:8888`, `unix:/run/ringway.sock`.
    pub(super) shown: String,
    /// The address with its real port; `None` for a unix socket.
    pub(super) address: Option<SocketAddr>,
    pub(super) origin: Origin,
    /// Whether it was bound here, so that nobody else holds it.
    pub(super) is_own: bool,
    pub(super) sockets: Vec<OwnedFd>,
    /// Removes a unix socket's file when the server ends.
    pub(super) file: Option<SocketFile>,
}

/// The file of a unix socket; dropping it removes the file, if it is still the same one.
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens on `address` with `count` sockets.
pub(super) fn bind(address: &Address, count: usize) -> io::Result<Bound> {
    let bound = match address {
        Address::Inet(host, port) => bind_inet(host, *port, count),
        Address::Unix(path) => bind_unix(path, count),
        Address::Descriptor(number) => inherit(*number, count),
    };
    bound.map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {}", cause(&error))))
}

fn bind_inet(host: &str, port: u16, count: usize) -> io::Result<Bound> {
    let address = (host, port).to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or_else(|| {
        io::Error::new(
            ErrorKind::NotFound,
            format!("the name `{host}` is not known; write an IP address of this machine"),
        )
    })?;
    let until = Instant::now() + RETRY_FOR;
    // A predecessor that is just ending may hold the port for a moment.
    let first = loop {
        match listen_inet(address, Share::Afterwards) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => thread::sleep(RETRY_EVERY),
            result => break result?,
        }
    };
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![OwnedFd::from(first)];
    for _ in 1..count {
        sockets.push(listen_inet(address, Share::Before)?.into());
    }
    Ok(Bound { sockets, is_own: true, ..of_inet(address) })
}

/// When a socket gets `SO_REUSEPORT`: before it is bound it joins others, afterwards others may join it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Before,
    Afterwards,
}

fn listen_inet(address: SocketAddr, share: Share) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit it: no answer waits for the acknowledgement of the one before.
    socket.set_tcp_nodelay(true)?;
    if share == Share::Before {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    if share == Share::Afterwards {
        socket.set_reuse_port(true)?;
    }
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn of_inet(address: SocketAddr) -> Bound {
    Bound {
        shown: format!("http://{address}"),
        address: Some(address),
        origin: Origin {
            server_name: address.ip().to_string(),
            server_port: address.port().to_string(),
            url_scheme: "http",
        },
        is_own: false,
        sockets: Vec::new(),
        file: None,
    }
}

fn of_unix(path: Option<&Path>) -> Bound {
    Bound {
        shown: path.map_or_else(|| "unix:".to_string(), |path| format!("unix:{}", path.display())),
        address: None,
        // PEP 3333 wants a name that is not empty.
        origin: Origin { server_name: "localhost".into(), server_port: String::new(), url_scheme: "http" },
        is_own: false,
        sockets: Vec::new(),
        file: None,
    }
}

fn bind_unix(path: &Path, count: usize) -> io::Result<Bound> {
    let until = Instant::now() + RETRY_FOR;
    while let Err(error) = make_way(path) {
        if error.kind() != ErrorKind::AddrInUse || Instant::now() >= until {
            return Err(error);
        }
        thread::sleep(RETRY_EVERY);
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::of(path)?;
    socket.listen(BACKLOG)?;
    Ok(Bound { sockets: copies(socket.into(), count)?, file: Some(file), is_own: true, ..of_unix(Some(path)) })
}

/// Removes a socket file that nobody listens on. A live one, and a file of another kind, are left alone.
fn make_way(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "a file that is no socket is there; choose another path"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        // A full listen queue or another type of socket is alive as well.
        Ok(_) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

/// The descriptor under its own number is closed on exec from now on: what this process starts is given what it needs.
fn inherit(number: i32, count: usize) -> io::Result<Bound> {
    let socket = process::duplicate(number)
        .map_err(|_| wrong("no such descriptor was inherited; the parent must leave it open across exec"))?;
    let socket = Socket::from(socket);
    let bound = of_listener(&socket)?;
    if bound.address.is_some() {
        // As for a socket of our own; whoever made this one may not have thought of it.
        socket.set_tcp_nodelay(true)?;
    }
    Ok(Bound { sockets: copies(socket.into(), count)?, ..bound })
}

/// An address of sockets that listen on it already, one for each worker.
pub(super) fn adopt(sockets: Vec<OwnedFd>) -> io::Result<Bound> {
    let bound = match sockets.first() {
        Some(first) => of_listener(&Socket::from(first.try_clone()?))?,
        None => return Err(wrong("no listener was passed on")),
    };
    Ok(Bound { sockets, ..bound })
}

/// What a listening socket says of itself.
fn of_listener(socket: &Socket) -> io::Result<Bound> {
    match socket.r#type() {
        Ok(Type::STREAM) => {}
        Ok(_) => return Err(wrong("it is no stream socket")),
        Err(_) => return Err(wrong("it is no socket")),
    }
    if !socket.is_listener()? {
        return Err(wrong("the socket does not listen; the parent must call listen"));
    }
    let local = socket.local_addr()?;
    match local.as_socket() {
        Some(address) => Ok(of_inet(address)),
        None if local.is_unix() => Ok(of_unix(local.as_pathname())),
        None => Err(wrong("it is neither an internet nor a unix socket")),
    }
}

fn wrong(sentence: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, sentence.to_string())
}

/// One descriptor for each worker, of the same socket.
fn copies(socket: OwnedFd, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 1..count {
        sockets.push(socket.try_clone()?);
    }
    sockets.push(socket);
    Ok(sockets)
}

/// Cause and remedy in one line.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "the address is in use; stop the other server or choose another address".into(),
        ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE, a unix socket a writable directory"
                .into()
        }
        ErrorKind::AddrNotAvailable => {
            "this machine does not have the address; choose one of its own, or 0.0.0.0".into()
        }
        ErrorKind::NotFound if error.raw_os_error().is_some() => "the directory does not exist; make it first".into(),
        _ => error.to_string(),
    }
}

impl SocketFile {
    pub(super) fn of(path: &Path) -> io::Result<SocketFile> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(SocketFile { path: path.to_path_buf(), device: metadata.dev(), inode: metadata.ino() })
    }
}

#[cfg(feature = "cli")]
impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours {
            // The server is ending; a file that stays is replaced by the next one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long a taken address is tried again, and how often.
const RETRY_FOR: Duration = Duration::from_millis(250);
const RETRY_EVERY: Duration = Duration::from_millis(25);
