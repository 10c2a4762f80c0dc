//! Peers without manners: those who reset in the middle, who half-close, who speak something else.

use std::time::Duration;

use crate::attack_support::crowd::{Crowd, End, Member};
use crate::attack_support::drawn;
use crate::attack_support::honest::Honest;
use crate::attack_support::server::Server;

/// Conversations of every kind, each cut by a reset at a random point of what is sent and of what is read.
pub(crate) fn resets(io: &str) {
    const SEED: u64 = 0x5eed;
    const CONVERSATION_COUNT: usize = 1500;
    let server = Server::start(io, &[]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let body = vec![b'x'; 300 * 1024];
    let post = |framing: &str| format!("POST /echo HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").into_bytes();
    let conversations = [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(200),
        [post("Content-Length: 307200"), body.clone()].concat(),
        [post("Content-Length: 307200\r\nExpect: 100-continue"), body.clone()].concat(),
        [post("Transfer-Encoding: chunked"), b"4b000\r\n".to_vec(), body, b"\r\n0\r\n\r\n".to_vec()].concat(),
        [post("Content-Length: 2000000"), vec![b'x'; 100_000]].concat(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
    ];
    println!("{io}: seed {SEED:#x}");
    let mut below = drawn(SEED);
    let mut open: Vec<Member> = Vec::new();
    for _ in 0..CONVERSATION_COUNT {
        let bytes = &conversations[below(conversations.len())];
        let mut member = Member::connect(server.address);
        // Short cuts are as likely as long ones.
        let end = below(bytes.len() + 1) >> (4 * below(4));
        let mut sent = 0;
        while sent < end {
            let size = 1 + below(end - sent);
            match member.send(&bytes[sent..sent + size]) {
                0 => break,
                size => sent += size,
            }
        }
        // Some are reset at once, some later, and some when the server has had its say.
        match below(3) {
            0 => member.reset(),
            1 => open.push(member),
            _ => {
                member.read();
                open.push(member);
            }
        }
        if open.len() > 32 {
            let index = below(open.len());
            open.swap_remove(index).reset();
        }
    }
    open.iter_mut().for_each(Member::reset);
    server.wait_for_home(home);
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}

/// Who finishes sending behind a whole request gets its answer, then the end; behind half of one, the end alone.
pub(crate) fn half_closes(io: &str) {
    const COUNT: usize = 100;
    let server = Server::start(io, &[]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let body = vec![b'x'; 200_000];
    let post = b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n";
    let whole: [(Vec<u8>, usize); 3] = [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), 1),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(20), 20),
        ([post.to_vec(), body.clone()].concat(), 1),
    ];
    for (bytes, answer_count) in whole {
        let mut crowd = Crowd::connect(server.address, COUNT);
        converse(&mut crowd, &bytes);
        for member in &crowd.members {
            let count = member.received.windows(12).filter(|window| *window == b"HTTP/1.1 200").count();
            assert_eq!((count, member.end), (answer_count, Some(End::Finished)), "{}", crowd.describe());
            assert!(member.received.ends_with(b"Hello, World!") || member.received.ends_with(&body));
        }
    }
    for bytes in [&b""[..], b"GET / HT", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345", post] {
        let mut crowd = Crowd::connect(server.address, COUNT);
        converse(&mut crowd, bytes);
        let silent_count = crowd.count(|member| member.received.is_empty() && member.end == Some(End::Finished));
        assert_eq!(silent_count, COUNT, "{bytes:?}: {}", crowd.describe());
    }
    server.wait_for_home(home);
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}

/// Everyone sends `bytes`, half-closes, and reads to the end.
fn converse(crowd: &mut Crowd, bytes: &[u8]) {
    let mut sent = vec![0; crowd.members.len()];
    crowd.read_until("everyone has its answer and the end", |crowd| {
        for (member, sent) in crowd.members.iter_mut().zip(&mut sent) {
            *sent += member.send(&bytes[*sent..]);
            if *sent == bytes.len() {
                member.finish_sending();
            }
        }
        crowd.is_over()
    });
}

/// What is not HTTP is refused or closed, whatever it is.
pub(crate) fn garbage(io: &str) {
    let server = Server::start(io, &["--head-timeout", "1s"]);
    let honest = Honest::start(server.address);
    let home = server.home();
    let mut below = drawn(0xbad);
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03random\x00\x20\x13\x01\x13\x02\x00\xff\x01\x00".to_vec();
    let mut kinds = vec![
        hello,
        vec![0; 4096],
        vec![0xff; 100_000],
        vec![b'A'; 100_000],
        b"\n".repeat(1000),
        b"\r\n".repeat(1000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\nHost: h\n\n".to_vec(),
        b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        b"* BYE\r\n\r\n".to_vec(),
    ];
    for _ in 0..40 {
        let size = 1 + below(20_000);
        kinds.push((0..size).map(|_| u8::try_from(below(256)).unwrap_or(0)).collect());
    }
    let mut crowd = Crowd::connect(server.address, 10 * kinds.len());
    for (member, bytes) in crowd.members.iter_mut().zip(kinds.iter().cycle()) {
        member.send(bytes);
    }
    crowd.read_to_end();
    let refused_count = crowd.count(|member| matches!(member.status(), 0 | 400 | 408 | 414 | 431 | 501 | 505));
    assert_eq!(refused_count, crowd.members.len(), "{}", crowd.describe());
    println!("{io}: {}", crowd.describe());
    server.wait_for_home(home);
    assert!(honest.median(10) < Duration::from_secs(1));
    println!("{io}: {home:?} before, {:?} after, {} honest requests", server.home(), honest.end());
    server.end();
}
