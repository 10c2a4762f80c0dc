//! The profile of `deploy/seccomp.json` as the program that the kernel runs before each call.
//!
//! It is what a container runtime makes of it by libseccomp: the rules in their order, a call that none allows gets the
//! default. Only what the profile uses is understood; anything else in it fails the test.

use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use super::calls;

/// Has the child, and all that it starts, make only those calls that the profile allows, without those of `removed`.
pub(crate) fn confine(command: &mut Command, profile: &Value, removed: &[&str]) {
    let program = compile(profile, removed);
    let size = u16::try_from(program.len()).expect("the program has a size that the kernel takes");
    // SAFETY: both calls are async-signal-safe, and the program lives in the closure while they read it.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: size, filter: program.as_ptr().cast_mut() };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

fn compile(profile: &Value, removed: &[&str]) -> Vec<libc::sock_filter> {
    let default = action(&profile["defaultAction"], &profile["defaultErrnoRet"]);
    let mut program = vec![
        load(ARCHITECTURE_AT),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_AT),
        // The numbers of x32, another interface of the same architecture.
        jump(libc::BPF_JGE, 0x4000_0000, 0, 1),
        answer(default),
    ];
    for rule in profile["syscalls"].as_array().expect("there are rules") {
        let action = action(&rule["action"], &rule["errnoRet"]);
        let names = rule["names"].as_array().expect("a rule has names").iter().filter_map(Value::as_str);
        for number in names.filter(|name| !removed.contains(name)).filter_map(calls::number) {
            match rule["args"].as_array().map(Vec::as_slice) {
                None => program.extend([jump(libc::BPF_JEQ, number, 0, 1), answer(action)]),
                Some([argument]) => program.extend(conditional(number, argument, action)),
                Some(_) => panic!("a rule looks at one argument"),
            }
        }
    }
    program.push(answer(default));
    program
}

/// A rule that holds for some values of an argument. Behind it the call's number is loaded again.
fn conditional(number: u32, argument: &Value, action: u32) -> [libc::sock_filter; 9] {
    let field = |name: &str| argument[name].as_u64().expect("an argument has numbers");
    let (mask, value) = match argument["op"].as_str() {
        Some("SCMP_CMP_EQ") => (u64::MAX, field("value")),
        Some("SCMP_CMP_MASKED_EQ") => (field("value"), field("valueTwo")),
        other => panic!("{other:?} is not understood"),
    };
    let low = |value: u64| u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    let at = ARGUMENTS_AT + 8 * u32::try_from(field("index")).expect("an index is small");
    [
        jump(libc::BPF_JEQ, number, 0, 8),
        load(at + 4),
        mask_with(low(mask >> 32)),
        jump(libc::BPF_JEQ, low(value >> 32), 0, 4),
        load(at),
        mask_with(low(mask)),
        jump(libc::BPF_JEQ, low(value), 0, 1),
        answer(action),
        load(NUMBER_AT),
    ]
}

fn action(name: &Value, errno: &Value) -> u32 {
    match name.as_str() {
        Some("SCMP_ACT_ALLOW") => libc::SECCOMP_RET_ALLOW,
        Some("SCMP_ACT_ERRNO") => {
            let errno = errno.as_u64().and_then(|errno| u32::try_from(errno).ok()).expect("there is an errno");
            libc::SECCOMP_RET_ERRNO | errno
        }
        other => panic!("{other:?} is not understood"),
    }
}

fn load(at: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

fn mask_with(mask: u32) -> libc::sock_filter {
    statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

fn jump(how: u32, against: u32, jt: u8, jf: u8) -> libc::sock_filter {
    statement(libc::BPF_JMP | how | libc::BPF_K, jt, jf, against)
}

fn answer(what: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, 0, 0, what)
}

fn statement(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("a code is short"), jt, jf, k }
}

/// Where struct seccomp_data has the number of the call, the architecture, and the arguments of eight bytes each, whose
/// low halves come first on both.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// As linux/audit.h has it.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
