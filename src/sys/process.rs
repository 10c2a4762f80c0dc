//! What belongs to the whole process: signals, processors, resource limits, inherited descriptors.
//!
//! Each function wraps one system call or two; none keeps anything.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// A signal that the server acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: end gracefully.
    Terminate,
    /// `SIGINT`: the same from a terminal; the second time at once.
    Interrupt,
    /// `SIGHUP`.
    Hangup,
    /// `SIGUSR1`: a thread of this process has ended and wants the main thread to look.
    Look,
}

/// A resource limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `RLIMIT_NOFILE`: descriptors.
    Descriptors,
    /// `RLIMIT_MEMLOCK`: bytes of locked memory.
    LockedMemory,
}

/// The two values of a resource limit; `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What is enforced.
    pub soft: u64,
    /// What the soft one may be raised to.
    pub hard: u64,
}

/// Blocks the signals of [`Signal`] in this thread and in those that it starts from now on, so that they wait
/// for [`wait_signal`].
///
/// # Errors
/// None in practice: the set and the way are valid.
pub fn block_signals() -> io::Result<()> {
    let set = signal_set();
    // SAFETY: the set is initialised, and a null pointer for the former mask is allowed.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Waits for a signal that [`block_signals`] has blocked.
///
/// # Errors
/// None in practice: the set is valid.
pub fn wait_signal() -> io::Result<Signal> {
    let set = signal_set();
    let mut signal = 0;
    // SAFETY: both pointers are valid for the call.
    match unsafe { libc::sigwait(&set, &mut signal) } {
        0 => Ok(match signal {
            libc::SIGINT => Signal::Interrupt,
            libc::SIGHUP => Signal::Hangup,
            libc::SIGUSR1 => Signal::Look,
            _ => Signal::Terminate,
        }),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Sends this process [`Signal::Look`]; for processes that have blocked it, since it would end others.
pub fn signal_look() {
    // SAFETY: neither call takes a pointer.
    unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
}

/// Ignores the signals of writes that fail, so that those are errors and not the end: `SIGPIPE` of a closed pipe or
/// socket, which the Rust runtime ignores before `main` and a program that embeds the server may not; and `SIGXFSZ`
/// of a file that meets the limit of its size (`ulimit -f`), as a spooled body or a log can.
pub fn ignore_failed_writes() {
    for signal in [libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: SIG_IGN is a valid disposition, and no handler is replaced that anybody waits on.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Sets variables of this process's environment. Called before there is a second thread.
pub fn set_variables(settings: &[(String, String)]) {
    for (name, value) in settings {
        // SAFETY: no other thread reads the environment meanwhile, since there is none yet.
        unsafe { std::env::set_var(name, value) };
    }
}

fn signal_set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the pointer is valid; sigemptyset initialises the set before signals are added to it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// The processors that this thread may run on, ascending.
///
/// # Errors
/// `EINVAL` on machines with more processors than the C library's mask has bits.
pub fn affinity() -> io::Result<Vec<usize>> {
    let mut mask = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: the pointer is valid for the size that is passed; 0 is the calling thread.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), mask.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are a valid mask, and the call leaves it valid.
    let mask = unsafe { mask.assume_init() };
    let bit_count = 8 * size_of::<libc::cpu_set_t>();
    // SAFETY: the index stays below the mask's number of bits.
    Ok((0..bit_count).filter(|processor| unsafe { libc::CPU_ISSET(*processor, &mask) }).collect())
}

/// Binds this thread to one processor.
///
/// # Errors
/// `EINVAL` where the processor is not available to the process.
pub fn pin(processor: usize) -> io::Result<()> {
    if processor >= 8 * size_of::<libc::cpu_set_t>() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: all-zero bytes are a valid, empty mask, and the index was checked above.
    let mask = unsafe {
        libc::CPU_SET(processor, mask.assume_init_mut());
        mask.assume_init()
    };
    // SAFETY: the pointer is valid for the size that is passed; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &mask) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A resource limit of this process.
///
/// # Errors
/// None in practice: the resource is valid.
pub fn limit(resource: Resource) -> io::Result<Limit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for the call.
    match unsafe { libc::getrlimit(resource.number(), &mut limit) } {
        0 => Ok(Limit { soft: limit.rlim_cur, hard: limit.rlim_max }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises the soft limit to the hard one and answers what it is then.
///
/// # Errors
/// What setrlimit(2) answers; a soft limit may always be raised to the hard one.
pub fn raise_limit(resource: Resource) -> io::Result<Limit> {
    let Limit { hard, .. } = limit(resource)?;
    let raised = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the pointer is valid for the call.
    match unsafe { libc::setrlimit(resource.number(), &raised) } {
        0 => Ok(Limit { soft: hard, hard }),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Resource {
    fn number(self) -> libc::__rlimit_resource_t {
        match self {
            Resource::Descriptors => libc::RLIMIT_NOFILE,
            Resource::LockedMemory => libc::RLIMIT_MEMLOCK,
        }
    }
}

/// A duplicate, closed on exec, of a descriptor that this process inherited under a number.
///
/// # Errors
/// `EBADF` where the number names no open descriptor.
pub fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes any number and no pointer.
    let duplicate = unsafe { libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}
