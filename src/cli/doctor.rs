//! `ringway doctor`: what this machine allows, which limits hold, and what they add up to.

use std::fmt::Write as _;
use std::fs;

use super::Exit;
use crate::config::{Config, Io, duration_text, size_text};
use crate::driver::uring;
use crate::server;
use crate::sys::process::{self, Limit, Resource};

/// Prints the report; the exit code says whether io_uring is usable.
pub(super) fn examine(config: &Config) -> Exit {
    let probed = uring::probe();
    let mut report = Report::default();
    report.line("kernel", &setting("/proc/sys/kernel/osrelease"));
    match &probed {
        Ok(features) => {
            report.line("io_uring", "usable");
            report.line("features", &features.join(", "));
        }
        Err(refusal) => report.line("io_uring", &format!("not usable: {refusal}")),
    }
    report.line("kernel.io_uring_disabled", &disabled());
    report.line("locked memory", &limit(Resource::LockedMemory, size_text));
    report.line("descriptors", &limit(Resource::Descriptors, |count| count.to_string()));
    report.line("net.core.somaxconn", &setting("/proc/sys/net/core/somaxconn"));
    report.line("processors", &processors());
    report.line("python", &super::python::examined());
    let auto = if probed.is_ok() { "io_uring" } else { "epoll" };
    report.line("--io auto takes", auto);
    if config.io == Io::Uring && probed.is_err() {
        report.line("--io uring", "would not start here");
    }
    limits(&mut report, config);
    warn(&mut report, config);
    super::print(&report.text);
    if probed.is_ok() { Exit::SUCCESS } else { Exit::FAILURE }
}

/// Lines of a name and a value.
#[derive(Default)]
struct Report {
    text: String,
}

impl Report {
    fn line(&mut self, name: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{name:<26}{value}");
    }
}

fn limits(report: &mut Report, config: &Config) {
    let Config { limits, worker_count, .. } = config;
    report.line("workers", &worker_count.to_string());
    let descriptor_count_max = process::limit(Resource::Descriptors).map_or(u64::MAX, |limit| limit.hard);
    let connection_count = config.connections(descriptor_count_max);
    let room = size_text(config.room(descriptor_count_max));
    report.line("connections", &format!("{connection_count} at a time; {room} of address space for each worker"));
    report.line("blocks", &format!("{} of 16 KiB for each worker", config.block_count_max));
    let head = &limits.head;
    report.line(
        "head",
        &format!(
            "{} of request line, {} in all, {} fields",
            size_of(head.request_line_max),
            size_of(head.head_max),
            head.field_count_max
        ),
    );
    let body = match limits.body.body_max {
        u64::MAX => "no limit".to_string(),
        size => size_text(size),
    };
    let place = match config.may_spool() {
        true => format!("{} in memory, the rest in {}", size_text(limits.body_memory), config.spool_dir.display()),
        false => "all of it in memory".to_string(),
    };
    let all = size_text(limits.bodies_max);
    report.line("body", &format!("{body}; {place}; {all} of all that are arriving, for each worker"));
    let pace = match limits.rate_min {
        0 => "as slow as they like".to_string(),
        rate => format!("{} a second at least, in every minute", size_text(rate)),
    };
    report.line("peers", &pace);
    report.line(
        "deadlines",
        &format!(
            "head {}, body {}, keep-alive {}, write {}, linger {}, graceful {}",
            duration_text(limits.head_timeout),
            duration_text(limits.body_idle),
            duration_text(limits.keepalive),
            duration_text(limits.write_idle),
            duration_text(limits.linger_timeout),
            duration_text(config.graceful_timeout)
        ),
    );
    let memory = config.memory(descriptor_count_max);
    report.line(
        "memory at most",
        &format!(
            "{} (blocks {}, bodies {}, connections {}, logs {})",
            size_text(memory.total()),
            size_text(memory.blocks),
            size_text(memory.bodies),
            size_text(memory.connections),
            size_text(memory.logs)
        ),
    );
    if config.may_spool() {
        let disk = match limits.body.body_max {
            u64::MAX => "no limit".to_string(),
            size => size_text(u64::try_from(connection_count).unwrap_or(u64::MAX).saturating_mul(size)),
        };
        report.line("disk at most", &format!("{disk} (a body for each connection)"));
    }
}

/// What does not fit together, each with the remedy.
fn warn(report: &mut Report, config: &Config) {
    if let Ok(Limit { hard, .. }) = process::limit(Resource::Descriptors)
        && let Some(wanted) = config.connection_count_max
        && config.connections(hard) < wanted
    {
        report.line("note", &format!("{wanted} connections need more than {hard} descriptors; raise ulimit -Hn"));
    }
    if let Err(error) = server::try_spool(config) {
        report.line("note", &error.to_string());
    }
    if let Ok(queue) = setting("/proc/sys/net/core/somaxconn").parse::<u32>()
        && queue < 4096
    {
        report.line("note", &format!("the listen queue is cut to {queue}; sysctl -w net.core.somaxconn=4096"));
    }
}

fn setting(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_string(), |text| text.trim().to_string())
}

fn disabled() -> String {
    match setting("/proc/sys/kernel/io_uring_disabled").as_str() {
        "0" => "0 (allowed)".into(),
        "1" => "1 (only for CAP_SYS_ADMIN and the group of kernel.io_uring_group)".into(),
        "2" => "2 (forbidden; sysctl -w kernel.io_uring_disabled=0)".into(),
        other => other.into(),
    }
}

fn limit(resource: Resource, write: impl Fn(u64) -> String) -> String {
    let write = |value| if value == u64::MAX { "no limit".to_string() } else { write(value) };
    match process::limit(resource) {
        Ok(Limit { soft, hard }) if soft == hard => write(soft),
        Ok(Limit { soft, hard }) => format!("{}, can be raised to {}", write(soft), write(hard)),
        Err(error) => format!("unknown: {error}"),
    }
}

fn processors() -> String {
    match process::affinity() {
        Ok(allowed) => {
            let numbers: Vec<_> = allowed.iter().map(ToString::to_string).collect();
            format!("{} ({})", allowed.len(), numbers.join(" "))
        }
        Err(error) => format!("unknown: {error}"),
    }
}

fn size_of(size: usize) -> String {
    size_text(u64::try_from(size).unwrap_or(u64::MAX))
}
