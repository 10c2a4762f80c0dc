//! What belongs to the whole process: signals, processors, resource limits, inherited descriptors.
//!
//! Each function wraps one system call or two; none keeps anything but the pipe of the signals,
//! which a handler can only reach through statics.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// A signal that the server acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: end gracefully.
    Terminate,
    /// `SIGINT`: the same from a terminal; the second time at once.
    Interrupt,
    /// `SIGHUP`: start anew without losing anything.
    Hangup,
    /// `SIGUSR1`: open the logs anew.
    Reopen,
    /// `SIGUSR2`: to a supervisor, replace the program; to its child, hand over.
    Replace,
    /// `SIGCHLD`, or [`signal_look`]: a child or a thread of this process has ended.
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

/// Installs handlers that hand the signals of [`Signal`] to [`next_signal`]. Nothing is blocked and nothing ignored,
/// so what this process executes later begins with a clean mask and the default actions.
///
/// # Errors
/// No descriptors for the pipe between handler and waiter.
pub fn catch_signals() -> io::Result<()> {
    if PIPE_OUT.load(Ordering::Acquire) < 0 {
        let mut ends = [0; 2];
        // SAFETY: the pointer is valid for the two descriptors that the call writes.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        PIPE_OUT.store(ends[0], Ordering::Release);
        PIPE_IN.store(ends[1], Ordering::Release);
    }
    // SAFETY: getpid takes nothing and cannot fail.
    OWNER.store(unsafe { libc::getpid() }, Ordering::Release);
    let handler: extern "C" fn(libc::c_int) = note_signal;
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    let mut caught = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: zeroed bytes are a valid action and a valid set, every pointer is valid for its call, and the handler
    // makes async-signal-safe calls only. SA_RESTART spares the application's system calls, as far as it can.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigemptyset(caught.as_mut_ptr());
        for signal in CAUGHT {
            libc::sigaddset(caught.as_mut_ptr(), signal);
            if libc::sigaction(signal, action, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // Who started this process may have had them blocked, and a mask survives exec.
        match libc::pthread_sigmask(libc::SIG_UNBLOCK, caught.as_ptr(), ptr::null_mut()) {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Whether `SIGHUP` is ignored, as nohup(1) has it; to be asked before [`catch_signals`].
#[must_use]
pub fn ignores_hangup() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the pointer is valid for the call, and zeroed bytes are a valid action where it fails.
    unsafe {
        libc::sigaction(libc::SIGHUP, ptr::null(), action.as_mut_ptr());
        action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Has the signals that ask for the end do that again, and ignores the others.
pub fn release_signals() {
    for signal in CAUGHT {
        // What is no reason to end any more is none now.
        let is_ending = matches!(signal, libc::SIGTERM | libc::SIGINT);
        // SAFETY: both are valid dispositions.
        unsafe { libc::signal(signal, if is_ending { libc::SIG_DFL } else { libc::SIG_IGN }) };
    }
}

/// Ends the process at once: no destructor and no handler of the C library's runs.
pub fn exit(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code.into()) }
}

/// The next signal that [`catch_signals`] has caught, or [`signal_look`] stands for; `None` where there is none now.
///
/// # Errors
/// None in practice: the pipe stays open as long as the process.
pub fn next_signal() -> io::Result<Option<Signal>> {
    let descriptor = PIPE_OUT.load(Ordering::Acquire);
    loop {
        let mut byte = 0u8;
        // SAFETY: the pointer is valid for the one byte that is asked for.
        match unsafe { libc::read(descriptor, (&raw mut byte).cast(), 1) } {
            1 => {
                return Ok(Some(match libc::c_int::from(byte) {
                    libc::SIGINT => Signal::Interrupt,
                    libc::SIGHUP => Signal::Hangup,
                    libc::SIGUSR1 => Signal::Reopen,
                    libc::SIGTERM => Signal::Terminate,
                    libc::SIGUSR2 => Signal::Replace,
                    _ => Signal::Look,
                }));
            }
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::Interrupted => {}
            io::ErrorKind::WouldBlock => return Ok(None),
            _ => return Err(error),
        }
    }
}

/// Waits until [`next_signal`] has something, one of these descriptors is readable or its other end has gone, or the
/// time is over; `None` is forever. It may also return early.
pub fn wait(descriptors: &[RawFd], timeout: Option<Duration>) {
    let own = PIPE_OUT.load(Ordering::Acquire);
    let mut polls: Vec<libc::pollfd> =
        [own].iter().chain(descriptors).map(|fd| libc::pollfd { fd: *fd, events: libc::POLLIN, revents: 0 }).collect();
    // Rounded up: what waits for a moment must not look again and again just before it.
    let timeout = timeout.map_or(-1, |time| time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX));
    let count = polls.len().try_into().unwrap_or(libc::nfds_t::MAX);
    // SAFETY: the pointer is valid for as many entries. A signal ends it early, and the caller looks for one.
    unsafe { libc::poll(polls.as_mut_ptr(), count, timeout) };
}

/// Whether [`next_signal`] has something.
#[must_use]
pub fn has_signal() -> bool {
    let mut poll = libc::pollfd { fd: PIPE_OUT.load(Ordering::Acquire), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry is passed, and the kernel writes to it alone.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

/// Has [`next_signal`] answer [`Signal::Look`], from any thread.
pub fn signal_look() {
    put(0);
}

/// The handler. A process that was forked from this one and has not executed anything yet shares the pipe, and must
/// not speak for this one: there a signal does what it would do by default.
extern "C" fn note_signal(signal: libc::c_int) {
    // SAFETY: all calls are async-signal-safe, and the errno that the interrupted code may be about to read is kept.
    unsafe {
        let errno = *libc::__errno_location();
        if libc::getpid() == OWNER.load(Ordering::Acquire) {
            put(u8::try_from(signal).unwrap_or_default());
        } else if signal != libc::SIGCHLD {
            libc::_exit(128 + signal);
        }
        *libc::__errno_location() = errno;
    }
}

/// Writes a byte to the pipe. A full one holds thousands of signals that nobody has looked at yet.
fn put(byte: u8) {
    // SAFETY: write is async-signal-safe, and the pointer is valid for the one byte.
    unsafe { libc::write(PIPE_IN.load(Ordering::Acquire), (&raw const byte).cast(), 1) };
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

/// A duplicate of a descriptor that this process inherited under a number. Both are closed on exec.
///
/// # Errors
/// `EBADF` where the number names no open descriptor.
pub fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with these commands takes any number and no pointer.
    let duplicate = unsafe {
        libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::fcntl(descriptor, libc::F_DUPFD_CLOEXEC, 3)
    };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// Has reads answer `EAGAIN` where there is nothing, instead of waiting. It holds for everybody who shares the pipe's end.
///
/// # Errors
/// None in practice: the descriptor is open.
pub fn set_nonblocking(descriptor: &OwnedFd) -> io::Result<()> {
    // SAFETY: fcntl with these commands takes no pointer.
    unsafe {
        let flags = libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL);
        if flags < 0 || libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Has this process terminated with its parent, which holds the reading end of `pipe`. Answers whether it still does.
pub fn end_with_parent(pipe: &impl AsRawFd) -> bool {
    let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: prctl takes no pointer here; poll is passed one entry, and the kernel writes to it alone.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
        libc::poll(&mut poll, 1, 0) == 0
    }
}

/// Takes over a descriptor that this process inherited for itself; it is closed on exec from now on.
///
/// # Errors
/// `EBADF` where the number names no open descriptor.
pub fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_SETFD takes any number and no pointer.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and the parent has made it for this process, which takes each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A variable of the environment, which is removed; to be called before there is a second thread.
#[must_use]
pub fn take_variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    // SAFETY: the only thread reads no variable meanwhile.
    unsafe { std::env::remove_var(name) };
    Some(value)
}

/// What [`catch_signals`] takes.
pub(super) const CAUGHT: [libc::c_int; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];
/// The ends of the pipe from the handler to [`next_signal`]; negative before there is one.
static PIPE_OUT: AtomicI32 = AtomicI32::new(-1);
static PIPE_IN: AtomicI32 = AtomicI32::new(-1);
/// The process that has installed the handlers.
static OWNER: AtomicI32 = AtomicI32::new(0);
