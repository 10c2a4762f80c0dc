//! Requests that their clients give up, in every state that a request of axum's can be in.

use super::attack_support::crowd::Crowd;
use super::attack_support::is_long;
use super::attack_support::server::Server;
use super::{ask, connect, on_both};

/// Clients at a time, and rounds of them.
const COUNT: usize = 50;
const ROUND_COUNT: usize = 200;

/// What each client says before it goes, and whether the application hears of it.
const STATES: &[(&str, bool)] = &[
    // Half a head.
    ("GET /never HTTP/1.1\r\nHost: h\r\nX:", false),
    // An answer that is awaited.
    ("GET /never HTTP/1.1\r\nHost: h\r\n\r\n", true),
    // The same with another request behind it.
    ("GET /never HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
    // A body that nobody reads.
    ("POST /never HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", true),
    // Half a body, that is read.
    ("POST /never/read HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf", true),
    ("POST /never/read HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", true),
    // A whole one, that has been.
    ("POST /never/read HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", true),
    // A body that is asked for.
    ("POST /never/read HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", true),
    // Half a body in the hands of a task.
    ("POST /never/task HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf", true),
    // Half a response.
    ("GET /never/written HTTP/1.1\r\nHost: h\r\n\r\n", true),
    // A response in the middle of a send.
    ("GET /never/done HTTP/1.1\r\nHost: h\r\n\r\n", true),
    // Half a response beside half a request.
    ("POST /never/written HTTP/1.1\r\nHost: h\r\nContent-Length: 90000\r\n\r\nhalf", true),
];

#[test]
fn ten_thousand_requests_that_are_given_up_leave_nothing() {
    // Slots for a round, the one who asks and a few that are being closed: one that was not given back would be missed.
    on_both("ten_thousand_requests", &["--connections-max", "64"], |server, io| {
        let mut other = connect(server);
        let mut called_count = 0;
        // What all of them need once, allocators above all, is not what they leave.
        (0..if is_long() { 20 } else { 10 })
            .for_each(|round| called_count = give_up(server, &mut other, round, called_count));
        let home = server.home();
        (0..ROUND_COUNT).for_each(|round| called_count = give_up(server, &mut other, round, called_count));
        server.wait_for_home(home);
        println!("{io}: {home:?} before, {:?} after {} were given up", server.home(), COUNT * ROUND_COUNT);
    });
}

/// A round of clients, each in a state of its own. Answers how many requests the application has been called for.
fn give_up(server: &Server, other: &mut std::net::TcpStream, round: usize, before: usize) -> usize {
    let states: Vec<_> = (0..COUNT).map(|index| STATES[(round + index) % STATES.len()]).collect();
    let mut crowd = Crowd::connect(server.address, COUNT);
    for (member, (bytes, _)) in crowd.members.iter_mut().zip(&states) {
        assert_eq!(member.send(bytes.as_bytes()), bytes.len(), "there is room for a request");
    }
    let come = before + states.iter().filter(|(_, is_heard)| *is_heard).count();
    let wanted = format!("{come} come, ");
    server.wait_until("all are called", || ask(other, "/census").starts_with(&wanted));
    // Some have read what there is, some have not.
    if round.is_multiple_of(2) {
        crowd.members.iter_mut().for_each(|member| member.read());
    }
    crowd.reset();
    let rest = format!("{come} come, [0, 0, 0] alive, 0 tasks.");
    server.wait_until("all are gone", || ask(other, "/census") == rest);
    come
}
