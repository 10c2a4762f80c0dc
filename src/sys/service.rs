//! What a service manager says and wants to hear (sd_listen_fds(3), sd_notify(3)), and what a daemon gives up.

use std::ffi::{CStr, CString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use super::process::take_variable;

/// The way to the service manager, where there is one.
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// What the environment said, for a program that takes this process over.
    variables: Vec<(&'static str, String)>,
    /// How often it wants to hear that this process lives.
    watchdog: Option<Duration>,
}

/// Who a process becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user, by name or number.
    pub user: Option<String>,
    /// The group, by name or number; the user's own where only that is given.
    pub group: Option<String>,
}

/// An identity that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    user: libc::uid_t,
    group: libc::gid_t,
}

impl Notifier {
    /// The manager that `NOTIFY_SOCKET` and `WATCHDOG_USEC` tell of. The variables are removed, for children are not
    /// to speak for this process; so it is to be called once, before there is a second thread.
    #[must_use]
    pub fn of_environment() -> Notifier {
        let names = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];
        let variables: Vec<_> = names.iter().filter_map(|name| Some((*name, take_variable(name)?))).collect();
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        let address = value("NOTIFY_SOCKET").and_then(|path| match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(path).ok(),
        });
        let socket = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not hold this process up.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let is_ours = value("WATCHDOG_PID").is_none_or(|id| id.parse() == Ok(std::process::id()));
        let interval = value("WATCHDOG_USEC").and_then(|text| text.parse().ok()).map(Duration::from_micros);
        let is_wanted = is_ours && socket.is_some();
        // Half of it, as sd_watchdog_enabled(3) advises.
        let watchdog = interval.filter(|interval| is_wanted && !interval.is_zero()).map(|interval| interval / 2);
        Notifier { socket, variables, watchdog }
    }

    /// What the environment said.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// How often [`Notifier::notify`] is to say `WATCHDOG=1`.
    #[must_use]
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells the manager. One that does not listen misses it.
    pub fn notify(&self, state: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }

    /// Tells the manager that a reload has begun, by the clock that it compares with.
    pub fn notify_reloading(&self) {
        let micros = super::monotonic_ns() / 1000;
        self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}

/// The listening sockets that a service manager has passed, by number: 3 and the following (sd_listen_fds(3)). The
/// variables are removed.
#[must_use]
pub fn listeners() -> Vec<i32> {
    let (id, count) = (take_variable("LISTEN_PID"), take_variable("LISTEN_FDS"));
    let _ = take_variable("LISTEN_FDNAMES");
    let is_ours = id.and_then(|id| id.parse().ok()) == Some(std::process::id());
    let count = count.and_then(|count| count.parse::<i32>().ok()).filter(|_| is_ours).unwrap_or(0);
    (3..3 + count.clamp(0, LISTENER_COUNT_MAX)).collect()
}

impl Identity {
    /// Looks the names up; `None` where none is given.
    ///
    /// # Errors
    /// A line that names what is unknown.
    pub fn find(&self) -> Result<Option<Ids>, String> {
        // SAFETY: both take nothing and cannot fail.
        let (mut user, mut group) = unsafe { (libc::geteuid(), libc::getegid()) };
        if let Some(name) = &self.user {
            (user, group) = find_user(name).ok_or_else(|| format!("--user {name}: there is no such user"))?;
        }
        if let Some(name) = &self.group {
            group = find_group(name).ok_or_else(|| format!("--group {name}: there is no such group"))?;
        }
        Ok((self.user.is_some() || self.group.is_some()).then_some(Ids { user, group }))
    }
}

impl Ids {
    /// Gives what lies at a path to this identity; a link itself, and not what it leads to.
    ///
    /// # Errors
    /// What lchown(2) answers.
    pub fn own(self, path: &Path) -> io::Result<()> {
        std::os::unix::fs::lchown(path, Some(self.user), Some(self.group))
    }

    /// Gives an open file to this identity.
    ///
    /// # Errors
    /// What fchown(2) answers.
    pub fn own_file(self, file: &std::fs::File) -> io::Result<()> {
        std::os::unix::fs::fchown(file, Some(self.user), Some(self.group))
    }

    /// Makes this process one of this identity for good: its groups first, for the user may not change them any more.
    ///
    /// # Errors
    /// `EPERM` where the process may not.
    pub fn assume(self) -> io::Result<()> {
        let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        // SAFETY: geteuid takes nothing; setgid and setuid take numbers.
        unsafe {
            if libc::geteuid() == 0 {
                match self.user_name() {
                    // SAFETY: the name is a C string that lives through the call.
                    Some(name) => check(libc::initgroups(name.as_ptr(), self.group))?,
                    // SAFETY: no group is read from the null pointer.
                    None => check(libc::setgroups(0, std::ptr::null()))?,
                }
            }
            check(libc::setgid(self.group))?;
            check(libc::setuid(self.user))?;
            // A kernel that would give root back has not taken it.
            if self.user != 0 && libc::setuid(0) == 0 {
                return Err(io::Error::other("the privileges of root came back"));
            }
        }
        Ok(())
    }

    fn user_name(self) -> Option<CString> {
        // SAFETY: the only thread reads the entry before any other call of this kind.
        unsafe {
            let entry = libc::getpwuid(self.user);
            if entry.is_null() { None } else { Some(CStr::from_ptr((*entry).pw_name).to_owned()) }
        }
    }
}

fn find_user(name: &str) -> Option<(libc::uid_t, libc::gid_t)> {
    let c_name = CString::new(name.as_bytes()).ok()?;
    // SAFETY: the name is a C string, and the only thread reads the entry before any other call of this kind.
    unsafe {
        let mut entry = libc::getpwnam(c_name.as_ptr());
        if entry.is_null() {
            let number = name.parse().ok()?;
            entry = libc::getpwuid(number);
            if entry.is_null() {
                // A user that nobody knows has a group of the same number, and not root's.
                return Some((number, number));
            }
        }
        Some(((*entry).pw_uid, (*entry).pw_gid))
    }
}

fn find_group(name: &str) -> Option<libc::gid_t> {
    let c_name = CString::new(name.as_bytes()).ok()?;
    // SAFETY: the name is a C string, and the only thread reads the entry before any other call of this kind.
    unsafe {
        let entry = libc::getgrnam(c_name.as_ptr());
        if entry.is_null() { name.parse().ok() } else { Some((*entry).gr_gid) }
    }
}

/// Sets the bits that new files do not get.
pub fn set_umask(mask: u32) {
    // SAFETY: umask takes a number and cannot fail.
    unsafe { libc::umask(mask) };
}

/// Whether this process has a terminal that it can lose.
#[must_use]
pub fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// As many as a manager passes at most; a larger number is a mistake.
const LISTENER_COUNT_MAX: i32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let find = |user: Option<&str>, group: Option<&str>| {
            Identity { user: user.map(Into::into), group: group.map(Into::into) }.find()
        };
        assert_eq!(find(None, None), Ok(None));
        assert_eq!(find(Some("root"), None), Ok(Some(Ids { user: 0, group: 0 })));
        assert_eq!(find(Some("0"), Some("7")), Ok(Some(Ids { user: 0, group: 7 })));
        assert!(find(Some("no such user"), None).is_err_and(|line| line.contains("no such user")));
        assert!(find(None, Some("no such group")).is_err_and(|line| line.contains("--group")));
    }
}
