//! A server that has no slot or no descriptor left: those who are in are served, those who are not wait.

use std::time::Duration;

use crate::attack_support::crowd::{Crowd, Member};
use crate::attack_support::honest::Honest;
use crate::attack_support::server::Server;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const LAST_GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
/// How long a share of a core is measured.
const MEASURED: Duration = Duration::from_secs(2);

fn is_answered(member: &Member) -> bool {
    member.received.ends_with(b"Hello, World!")
}

/// Newcomers of a full server wait in the listen queue, cost nothing, and are served when there is room.
pub(crate) fn connections(io: &str) {
    const SLOT_COUNT: usize = 64;
    let server = Server::start(io, &["--connections-max", "64"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    // Holders have had an answer, and their connections stay.
    let mut holders = Crowd::connect(server.address, SLOT_COUNT - 1);
    holders.send(GET);
    holders.read_until("every holder is answered", |crowd| crowd.count(is_answered) == SLOT_COUNT - 1);
    let mut newcomers = Crowd::connect(server.address, 400);
    newcomers.send(LAST_GET);
    let quiet = honest.median(200);
    let percent = honest.silent(|| server.cpu_percent(|| newcomers.read(MEASURED / 2)));
    assert_eq!(newcomers.count(|member| !member.received.is_empty()), 0, "{}", newcomers.describe());
    assert!(percent < 5.0, "{percent:.2} % of a core while it is full");
    holders.members.iter_mut().for_each(Member::leave);
    newcomers.read_to_end();
    assert_eq!(newcomers.count(is_answered), 400, "{}", newcomers.describe());
    server.wait_for_home(home);
    println!("{io}: {percent:.3} % of a core while full, honest median {quiet:?}, {:?} after", server.home());
    honest.end();
    server.end();
}

/// 64 descriptors and 200 clients: no crash, no spinning, service for those who are in, recovery afterwards.
pub(crate) fn descriptors(io: &str) {
    const CLIENT_COUNT: usize = 200;
    let server = Server::start_with_descriptors(io, 64, &[]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let mut crowd = Crowd::connect(server.address, CLIENT_COUNT);
    crowd.send(GET);
    crowd.read_until("some are served", |crowd| crowd.count(is_answered) >= 16);
    let percent = honest.silent(|| {
        server.cpu_percent(|| {
            let until = std::time::Instant::now() + MEASURED;
            while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
                crowd.read(left);
            }
        })
    });
    let admitted_count = crowd.count(is_answered);
    assert!(admitted_count < 64, "{admitted_count} are in");
    assert!(percent < 5.0, "{percent:.2} % of a core while it is full");
    for member in crowd.members.iter_mut().filter(|member| is_answered(member)) {
        member.received.clear();
        member.send(GET);
    }
    crowd.read_until("those who are in are served again", |crowd| crowd.count(is_answered) >= admitted_count);
    println!("{io}: {admitted_count} admitted of {CLIENT_COUNT}, {percent:.3} % of a core while full");
    // Whoever has its answer makes room.
    crowd.read_until("everyone has been served", |crowd| {
        crowd.members.iter_mut().filter(|member| is_answered(member)).for_each(Member::leave);
        crowd.count(is_answered) == CLIENT_COUNT
    });
    assert_eq!(crowd.count(|member| member.status() == 200), CLIENT_COUNT, "{}", crowd.describe());
    server.wait_for_home(home);
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}
