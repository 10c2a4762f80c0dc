//! Why io_uring cannot be used here, in one line with the likely cause and the remedy. No I/O but a look at
//! the kernel's setting.

use std::fmt;

use crate::sys::Errno;

/// The step of setting up a ring that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for, `io_uring_setup` for instance.
    pub step: &'static str,
    /// What the kernel answered.
    pub errno: Errno,
}

impl Refusal {
    /// Keeps the errno of an error.
    #[must_use]
    pub fn new(step: &'static str, error: &std::io::Error) -> Refusal {
        Refusal { step, errno: Errno::of(error) }
    }

    /// The likely cause and what to do, by what the errno usually means.
    fn cause(&self) -> &'static str {
        match self.errno.0 {
            libc::EPERM | libc::EACCES if is_disabled() => {
                "kernel.io_uring_disabled forbids it; set it to 0, or to 1 with the group of kernel.io_uring_group"
            }
            libc::EPERM | libc::EACCES => {
                "a seccomp profile forbids it, as those of containers do; run with one that allows io_uring_setup, \
                 io_uring_enter and io_uring_register"
            }
            libc::ENOSYS => "the kernel has no io_uring, or a seccomp profile hides it; Linux 6.1 or later is needed",
            libc::EINVAL | libc::EOPNOTSUPP => "the kernel is too old for what is needed; Linux 6.1 or later is",
            libc::ENOMEM => "the limit of locked memory is too low; raise it (ulimit -l, LimitMEMLOCK=)",
            libc::EMFILE | libc::ENFILE => "there are no descriptors left; raise the limit (ulimit -n, LimitNOFILE=)",
            _ => "the cause is not known",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring is refused ({}: {}): {}", self.step, self.errno, self.cause())
    }
}

impl std::error::Error for Refusal {}

fn is_disabled() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").is_ok_and(|value| value.trim() != "0")
}
