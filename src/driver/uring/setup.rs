//! Making a ring, and finding out whether one can be made. Nothing is submitted here.

use io_uring::{IoUring, Probe, opcode};

use crate::driver::refusal::Refusal;

/// Makes a ring for the calling thread, with as many of the wanted flags as the kernel has.
///
/// # Errors
/// The refusal of the simplest ring that would do.
pub fn build() -> Result<IoUring, Refusal> {
    build_described().map(|(ring, _)| ring)
}

/// Makes a ring, tries what the driver needs, and describes what there is, one line each.
///
/// # Errors
/// The first thing needed that the kernel refuses.
pub fn probe() -> Result<Vec<String>, Refusal> {
    let (ring, flags) = build_described()?;
    let mut probe = Probe::new();
    let submitter = ring.submitter();
    submitter.register_probe(&mut probe).map_err(|error| Refusal::new("IORING_REGISTER_PROBE", &error))?;
    for (name, code) in OPERATIONS {
        if !probe.is_supported(*code) {
            return Err(Refusal { step: name, errno: crate::sys::Errno(libc::EOPNOTSUPP) });
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
fn build_described() -> Result<(IoUring, &'static str), Refusal> {
    let mut refusal = None;
    for (with_no_sqarray, with_defer, described) in [
        (true, true, "SINGLE_ISSUER DEFER_TASKRUN COOP_TASKRUN SUBMIT_ALL NO_SQARRAY CQSIZE"),
        (false, true, "SINGLE_ISSUER DEFER_TASKRUN COOP_TASKRUN SUBMIT_ALL CQSIZE"),
        (false, false, "COOP_TASKRUN SUBMIT_ALL CQSIZE"),
    ] {
        let mut builder = IoUring::builder();
        builder.setup_coop_taskrun().setup_submit_all().setup_cqsize(CQ_SIZE).dontfork();
        if with_defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        if with_no_sqarray {
            builder.setup_no_sqarray();
        }
        match builder.build(SQ_SIZE) {
            Ok(ring) => return Ok((ring, described)),
            Err(error) => refusal = Some(Refusal::new("io_uring_setup", &error)),
        }
    }
    Err(refusal.unwrap_or(Refusal { step: "io_uring_setup", errno: crate::sys::Errno(libc::EINVAL) }))
}

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
