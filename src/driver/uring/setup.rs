//! Making a ring, and finding out whether one can be made. Nothing is submitted here.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::driver::refusal::Refusal;
use crate::sys::Errno;

/// Makes a ring for the calling thread, with as many of the wanted flags as the kernel has.
///
/// # Errors
/// The refusal of the simplest ring that would do.
pub fn build() -> Result<IoUring, Refusal> {
    build_described(false).map(|(ring, _)| ring)
}

/// Makes a ring for somebody else's loop on the calling thread.
///
/// # Errors
/// As of [`build`].
pub fn build_guest() -> Result<IoUring, Refusal> {
    build_described(true).map(|(ring, _)| ring)
}

/// Makes a ring, tries what the driver needs, and describes what there is, one line each.
///
/// # Errors
/// The first thing needed that the kernel refuses.
pub fn probe() -> Result<Vec<String>, Refusal> {
    let (ring, flags) = build_described(false)?;
    let mut probe = Probe::new();
    let submitter = ring.submitter();
    submitter.register_probe(&mut probe).map_err(|error| Refusal::new("IORING_REGISTER_PROBE", &error))?;
    for (name, code) in OPERATIONS {
        if !probe.is_supported(*code) {
            return Err(Refusal { step: name, errno: Errno(libc::EOPNOTSUPP) });
        }
    }
    super::buffer_ring::BufferRing::try_register(&submitter)
        .map_err(|error| Refusal::new("IORING_REGISTER_PBUF_RING", &error))?;
    let names: Vec<&str> = OPERATIONS.iter().map(|(name, _)| *name).collect();
    Ok(vec![format!("setup flags: {flags}"), format!("operations: {}", names.join(" "))])
}

/// The ladder. Each flag has its reason:
///
/// - SINGLE_ISSUER: only the worker's thread submits, so the kernel leaves locks out; DEFER_TASKRUN needs it.
/// - DEFER_TASKRUN (6.1): completions run in our own enter, in batches, and never interrupt the thread.
///   Without deferred or cooperative task running a request costs half as much again.
/// - COOP_TASKRUN (5.19): what remains where it is not deferred.
/// - SUBMIT_ALL: one submission that is refused does not keep the others of the turn back.
/// - NO_SQARRAY (6.6): submissions are taken in order, without an array of indices in between.
/// - CQSIZE: a multishot operation completes many times, so completions outnumber submissions.
/// - TASKRUN_FLAG, for a guest alone: a flag in shared memory tells that an enter would run something.
fn build_described(is_guest: bool) -> Result<(IoUring, &'static str), Refusal> {
    climb(|rung| {
        let mut builder = IoUring::builder();
        builder.setup_coop_taskrun().setup_submit_all().setup_cqsize(CQ_SIZE).dontfork();
        if rung.with_defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if rung.with_no_sqarray {
            builder.setup_no_sqarray();
        }
        if is_guest {
            builder.setup_taskrun_flag();
        }
        builder.build(SQ_SIZE)
    })
}

/// Tries each rung from the top. The refusal is that of the lowest: what is above it may only be too new.
fn climb<R>(mut attempt: impl FnMut(&Rung) -> io::Result<R>) -> Result<(R, &'static str), Refusal> {
    let mut refusal = Refusal { step: "io_uring_setup", errno: Errno(libc::EINVAL) };
    for rung in LADDER {
        match attempt(rung) {
            Ok(ring) => return Ok((ring, rung.described)),
            Err(error) => refusal.errno = Errno::of(&error),
        }
    }
    Err(refusal)
}

/// A choice of flags.
struct Rung {
    with_no_sqarray: bool,
    with_defer: bool,
    described: &'static str,
}

const LADDER: &[Rung] = &[
    Rung {
        with_no_sqarray: true,
        with_defer: true,
        described: "SINGLE_ISSUER DEFER_TASKRUN COOP_TASKRUN SUBMIT_ALL NO_SQARRAY CQSIZE",
    },
    Rung {
        with_no_sqarray: false,
        with_defer: true,
        described: "SINGLE_ISSUER DEFER_TASKRUN COOP_TASKRUN SUBMIT_ALL CQSIZE",
    },
    Rung { with_no_sqarray: false, with_defer: false, described: "COOP_TASKRUN SUBMIT_ALL CQSIZE" },
];

/// Every operation that the driver submits.
const OPERATIONS: &[(&str, u8)] = &[
    ("ACCEPT", opcode::AcceptMulti::CODE),
    ("RECV", opcode::RecvMulti::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("READ", opcode::Read::CODE),
    ("WRITE", opcode::Write::CODE),
    ("CLOSE", opcode::Close::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel2::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutRemove::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
];
const SQ_SIZE: u32 = 1024;
const CQ_SIZE: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers to each rung, 0 where it makes a ring; and which rung it is, or the refusal.
    #[test]
    fn every_refusal_of_a_setup_has_its_consequence() {
        for (name, answers, expected) in [
            ("6.6 and later", &[0][..], Ok(0)),
            ("before 6.6: no NO_SQARRAY", &[libc::EINVAL, 0], Ok(1)),
            ("before 6.1: no DEFER_TASKRUN", &[libc::EINVAL, libc::EINVAL, 0], Ok(2)),
            ("before 5.19: no COOP_TASKRUN", &[libc::EINVAL; 3], Err(libc::EINVAL)),
            ("none, or hidden by seccomp", &[libc::ENOSYS; 3], Err(libc::ENOSYS)),
            ("forbidden by seccomp or sysctl", &[libc::EPERM; 3], Err(libc::EPERM)),
            ("forbidden by a security module", &[libc::EACCES; 3], Err(libc::EACCES)),
            ("no locked memory", &[libc::ENOMEM; 3], Err(libc::ENOMEM)),
            ("no descriptor", &[libc::EMFILE; 3], Err(libc::EMFILE)),
            ("old, and no locked memory", &[libc::EINVAL, libc::EINVAL, libc::ENOMEM], Err(libc::ENOMEM)),
        ] {
            let mut answers = answers.iter();
            let built = climb(|_| match answers.next() {
                Some(0) => Ok(()),
                Some(errno) => Err(io::Error::from_raw_os_error(*errno)),
                None => panic!("{name}: a rung too many is tried"),
            });
            let rung = |described: &str| LADDER.iter().position(|rung| rung.described == described);
            let is = built.map(|((), described)| rung(described)).map_err(|refusal| refusal.errno.0);
            assert_eq!(is, expected.map(Some), "{name}");
            assert_eq!(answers.next(), None, "{name}: every rung is tried");
        }
    }
}
