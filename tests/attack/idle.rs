//! Connections that do nothing: what they cost.

use std::time::Duration;

use ringway::sys::process::{self, Resource};

use crate::attack_support::crowd::{Crowd, Member};
use crate::attack_support::honest::Honest;
use crate::attack_support::is_long;
use crate::attack_support::server::Server;

/// Descriptors that the test and the server need beside the connections.
const OTHER_COUNT: usize = 200;
/// Connections that are made before it is looked whether they are accepted; fewer than a listen queue takes.
const GROUP_COUNT: usize = 250;

/// 10,000 idle connections, half of which have had an answer: at most 300 bytes of resident memory each, and at most
/// 0.2 % of a core.
pub(crate) fn ten_thousand(io: &str) {
    let soft = process::limit(Resource::Descriptors).map_or(0, |limit| limit.soft);
    let allowed = usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(OTHER_COUNT);
    let count = allowed.min(10_000);
    if count < 1000 {
        return eprintln!("skipped: ten_thousand_idle_on_{io}: only {soft} descriptors are allowed");
    }
    if count < 10_000 {
        println!("{io}: {count} connections instead of 10,000: only {soft} descriptors are allowed");
    }
    let server = Server::start(io, &["--head-timeout", "120s", "--keepalive", "120s"]);
    let honest = Honest::start(server.address);
    // Served for a while first: allocators give back what the start took only as they are used.
    honest.median(200);
    let home = server.settled();
    let mut crowd = Crowd::connect(server.address, 0);
    for index in 0..count {
        let mut member = Member::connect(server.address);
        if index % 2 == 0 {
            member.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        crowd.members.push(member);
        // In groups: what a rush makes beside the connections, which is as long as its queues, is not in the question.
        if (index + 1) % GROUP_COUNT == 0 {
            server.wait_until("a group is accepted", || server.descriptor_count() == home.descriptor_count + index + 1);
        }
    }
    crowd.read_until("half of them are answered", |crowd| {
        crowd.count(|member| member.status() == 200) == count.div_ceil(2)
    });
    server.wait_until("all are accepted", || server.descriptor_count() == home.descriptor_count + count);
    let median = honest.median(200);
    let measured = Duration::from_secs(if is_long() { 20 } else { 2 });
    // In the gate the best of three: what else runs on the machine can only add to it, by the caches that it takes.
    let mut measure = || honest.silent(|| server.cpu_percent(|| crowd.read(measured)));
    let rounds = if is_long() { 1 } else { 3 };
    let percent = (0..rounds).map(|_| measure()).fold(f64::INFINITY, f64::min);
    // Behind the silence: what the rush of requests has made, blocks above all, goes back in the ticks that follow it.
    let held = (server.resident_kib() - home.resident_kib) * 1024;
    let bytes = held as f64 / count as f64;
    println!("{io}: {bytes:.0} bytes each, {percent:.3} % of a core, honest median {median:?} among {count} idle");
    assert_eq!(crowd.count(|member| member.end.is_some()), 0, "{}", crowd.describe());
    crowd.reset();
    server.wait_for_home(home);
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    // On fewer what does not grow with them, a page of each block that is kept above all, weighs more.
    let bytes_max = if count < 10_000 { 512.0 } else { 300.0 };
    assert!(bytes <= bytes_max, "{bytes:.0} bytes for each idle connection");
    assert!(percent <= 0.2, "{percent:.3} % of a core for idle connections");
    server.end();
}
