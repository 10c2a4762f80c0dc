//! The connection alone.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ringway::app::asynchronous::{Responded, StartResponse};
use ringway::connection::{Limits, Next};
use ringway::stats::Limit;
use ringway::{Application, InputError, InputStream, OwnedEnviron, Status, asynchronous};

use super::async_support::signal::{Census, Signal};
use super::support::memory::Memory;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
const WINDOW: usize = 64 * 1024;

fn post(size: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")
}

fn memory(app: impl Application + 'static, change: impl FnOnce(&mut Limits)) -> Memory {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut memory = Memory::with(Box::new(app), limits);
    memory.awaits_answers = false;
    memory
}

fn plain(app: impl Application + 'static) -> Memory {
    memory(app, |_| {})
}

fn statuses(memory: &Memory) -> Vec<u16> {
    let text = String::from_utf8_lossy(&memory.sent);
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].parse().expect("a status")).collect()
}

fn says(memory: &Memory, text: &str) -> bool {
    String::from_utf8_lossy(&memory.sent).contains(text)
}

/// What a reader of a body saw: pieces, and how it ended.
type Seen = Rc<RefCell<(Vec<u8>, Option<Result<(), InputError>>)>>;

async fn read_into(seen: &Seen, mut input: InputStream) {
    while let Some(piece) = input.next().await {
        match piece {
            Ok(piece) => seen.borrow_mut().0.extend_from_slice(&piece),
            Err(error) => return seen.borrow_mut().1 = Some(Err(error)),
        }
    }
    seen.borrow_mut().1 = Some(Ok(()));
}

/// Reads each time that it is let go, and answers with how much there was.
fn reader(signal: &Signal, seen: &Seen) -> impl Application + use<> {
    let (signal, seen) = (signal.clone(), seen.clone());
    asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
        let (signal, seen) = (signal.clone(), seen.clone());
        async move {
            signal.taken().await;
            read_into(&seen, environ.take_input()).await;
            start_response.start(Status::OK).body(format!("read {}", seen.borrow().0.len()))
        }
    })
}

#[test]
fn what_is_ready_at_once_is_answered_in_the_same_call() {
    let mut memory = plain(asynchronous(async |environ: OwnedEnviron, start_response: StartResponse| {
        start_response.start(Status::OK).body(environ.with(|environ| environ.path_info().to_vec()))
    }));
    memory.receive(GET.repeat(3).as_bytes());
    assert_eq!(statuses(&memory), [200, 200, 200]);
    assert!(!memory.deliver(), "nothing goes through the mailbox");
    assert_eq!(memory.heard.completed, [(200, 1); 3]);
}

#[test]
fn what_is_pipelined_behind_an_awaited_answer_waits() {
    let signal = Signal::default();
    let given = signal.clone();
    let mut memory = plain(asynchronous(move |environ: OwnedEnviron, start_response: StartResponse| {
        let signal = signal.clone();
        async move {
            if environ.with(|environ| environ.path_info() == b"/slow") {
                signal.taken().await;
            }
            start_response.start(Status::OK).body(environ.with(|environ| environ.path_info().to_vec()))
        }
    }));
    memory.receive(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\nGET /fast HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((statuses(&memory), memory.next), (vec![], Next::Answer));
    assert!(!memory.deliver(), "nobody has called");
    given.give();
    assert!(memory.deliver());
    let text = String::from_utf8_lossy(&memory.sent).into_owned();
    assert!(text.find("/slow").expect("it is there") < text.find("/fast").expect("it is there"));
}

#[test]
fn a_body_is_read_in_pieces_as_it_comes_and_the_window_bounds_it() {
    let (signal, seen) = (Signal::default(), Seen::default());
    let mut memory = memory(reader(&signal, &seen), |limits| limits.body.body_max = 1 << 30);
    let size = 10 * WINDOW;
    memory.receive(post(size).as_bytes());
    assert_eq!(memory.next, Next::Receive, "it comes before it is asked for");
    assert_eq!(memory.held_size(), WINDOW as u64);
    memory.receive(&vec![b'x'; WINDOW + 100]);
    assert_eq!((memory.next, memory.inbound_size()), (Next::Answer, 100), "the window is full, and no more is wanted");
    signal.give();
    assert!(memory.deliver());
    assert_eq!((memory.next, memory.inbound_size()), (Next::Receive, 0));
    assert_eq!(seen.borrow().0.len(), WINDOW + 100);
    for _ in 0..8 {
        memory.receive(&vec![b'x'; WINDOW]);
    }
    assert_eq!(statuses(&memory), [0u16; 0]);
    memory.receive(&vec![b'x'; WINDOW - 100]);
    assert!(says(&memory, &format!("read {size}")), "{}", memory.sent.escape_ascii());
    assert_eq!(memory.held_size(), 0);
    // The connection is none the worse for it.
    memory.receive(post(3).as_bytes());
    signal.give();
    memory.deliver();
    memory.receive(b"abcGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    signal.give();
    memory.deliver();
    assert_eq!(statuses(&memory), [200, 200, 200]);
}

#[test]
fn chunks_are_undone_and_the_next_request_is_found_behind_them() {
    let (signal, seen) = (Signal::default(), Seen::default());
    for piece_size in [1, 2, 7, 1000] {
        seen.take();
        let mut memory = plain(reader(&signal, &seen));
        let text = format!("{CHUNKED}5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX-Trailer: dropped\r\n\r\n{GET}");
        for piece in text.as_bytes().chunks(piece_size) {
            signal.give();
            memory.receive(piece);
            while memory.deliver() {}
        }
        assert_eq!((&seen.borrow().0[..], seen.borrow().1), (&b"hello world"[..], Some(Ok(()))));
        assert_eq!(statuses(&memory), [200, 200]);
    }
}

#[test]
fn a_peer_is_timed_while_its_bytes_are_awaited_and_not_while_the_window_is_full() {
    let (signal, seen) = (Signal::default(), Seen::default());
    let mut memory = memory(reader(&signal, &seen), |limits| limits.body.body_max = 1 << 30);
    memory.receive(post(1 << 20).as_bytes());
    memory.wait(Duration::from_secs(29));
    memory.receive(&vec![b'x'; WINDOW]);
    memory.wait(Duration::from_secs(100_000));
    assert_eq!(statuses(&memory), [0u16; 0], "it is the application that is slow");
    signal.give();
    memory.deliver();
    memory.wait(Duration::from_secs(29));
    assert_eq!(statuses(&memory), [0u16; 0]);
    memory.wait(Duration::from_secs(2));
    assert_eq!(statuses(&memory), [408]);
    assert!(memory.is_finished && says(&memory, "Connection: close"));
    assert_eq!(seen.borrow().1, None, "the future is gone, and sees nothing any more");
}

#[test]
fn a_slow_body_is_refused_by_its_rate() {
    let (signal, seen) = (Signal::default(), Seen::default());
    signal.give();
    let mut memory = plain(reader(&signal, &seen));
    memory.receive(post(1 << 20).as_bytes());
    for _ in 0..7 {
        memory.receive(b"x");
        memory.deliver();
        memory.wait(Duration::from_secs(10));
    }
    assert_eq!(statuses(&memory), [408]);
    assert_eq!(memory.heard.refused.len(), 1);
}

/// What is wrong with a body, and the answer to it.
const WRONG: [(&str, u16); 3] = [("5\r\nhelloX", 400), ("z\r\n", 400), ("fffff\r\n", 413)];

#[test]
fn what_is_wrong_with_a_body_is_answered_while_nothing_else_is() {
    for (bytes, status) in WRONG {
        let census = Census::default();
        let counted = census.clone();
        let mut memory = memory(
            asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
                let alive = counted.enter();
                async move {
                    let _alive = alive;
                    drop(environ.take_input().read_all().await);
                    start_response.start(Status::OK).body("never")
                }
            }),
            |limits| limits.body.body_max = 100,
        );
        memory.receive(format!("{CHUNKED}{bytes}").as_bytes());
        assert_eq!((statuses(&memory), census.count()), (vec![status], 0), "{bytes:?}");
        assert!(memory.is_finished && says(&memory, "Connection: close"));
        assert_eq!(memory.held_size(), 0);
    }
    let mut memory = memory(reader(&Signal::default(), &Seen::default()), |limits| limits.body.body_max = 100);
    memory.receive(post(101).as_bytes());
    assert_eq!(statuses(&memory), [413], "before the application is called");
}

/// What is wrong lies behind data that reads as the end of the body, if the decoder ever looks at it a second time.
#[test]
fn a_body_is_wrong_at_the_first_look_for_which_a_full_window_has_made_room() {
    let rest = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let (signal, seen) = (Signal::default(), Seen::default());
    for (name, app) in [
        ("awaited", Box::new(reader(&signal, &seen)) as Box<dyn Application>),
        ("begun", Box::new(begun_before(&signal, &seen))),
    ] {
        seen.take();
        let mut memory = plain(app);
        memory.receive(format!("{CHUNKED}{:x}\r\n", WINDOW + rest.len()).as_bytes());
        memory.receive(&[b'x'; WINDOW]);
        memory.receive(format!("{rest}\r\nz").as_bytes());
        assert_eq!((memory.next, memory.inbound_size()), (Next::Answer, rest.len() + 3), "{name}: the window is full");
        signal.give();
        while memory.deliver() {}
        let expected = if name == "awaited" { 400 } else { 200 };
        assert_eq!((statuses(&memory), memory.is_finished), (vec![expected], true), "{name}");
        assert!(seen.borrow().0.iter().all(|byte| *byte == b'x'), "{name}");
        assert_ne!(seen.borrow().1, Some(Ok(())), "{name}");
    }
}

/// Publishes its head at once, and reads when it is let go.
fn begun_before(signal: &Signal, seen: &Seen) -> impl Application + use<> {
    let (signal, seen) = (signal.clone(), seen.clone());
    asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
        let (signal, seen, input) = (signal.clone(), seen.clone(), environ.take_input());
        async move {
            start_response.start(Status::OK).write(async move |mut writer| {
                writer.write("begun").await?;
                signal.taken().await;
                read_into(&seen, input).await;
                writer.write("ended").await
            })
        }
    })
}

/// Publishes its head at once, and tells at the end how the body has ended.
fn early(seen: &Seen) -> impl Application + use<> {
    let seen = seen.clone();
    asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
        let (seen, input) = (seen.clone(), environ.take_input());
        async move {
            start_response.start(Status::OK).write(async move |mut writer| {
                writer.write("begun").await?;
                read_into(&seen, input).await;
                writer.write("ended").await
            })
        }
    })
}

#[test]
fn what_is_wrong_with_a_body_is_told_to_its_reader_where_the_head_is_gone() {
    for (bytes, _) in WRONG {
        let seen = Seen::default();
        let mut memory = memory(early(&seen), |limits| limits.body.body_max = 100);
        memory.receive(CHUNKED.as_bytes());
        assert!(says(&memory, "begun"));
        memory.receive(bytes.as_bytes());
        while memory.deliver() {}
        assert!(matches!(seen.borrow().1, Some(Err(InputError::Refused(_)))), "{bytes:?}: {:?}", seen.borrow().1);
        // What it makes of it is its own affair, but the connection cannot go on.
        assert!(says(&memory, "ended") && memory.is_finished, "{}", memory.sent.escape_ascii());
    }
    // Likewise one that stalls.
    let seen = Seen::default();
    let mut memory = plain(early(&seen));
    memory.receive(post(10).as_bytes());
    memory.wait(Duration::from_secs(31));
    while memory.deliver() {}
    assert!(matches!(seen.borrow().1, Some(Err(InputError::Refused(_)))));
    assert!(memory.is_finished);
    assert_eq!(memory.heard.met, [Limit::BodyIdle]);
}

#[test]
fn a_peer_that_goes_in_the_middle_of_its_body_cancels() {
    for path in ["early", "late"] {
        let census = Census::default();
        let counted = census.clone();
        let mut memory = plain(asynchronous(move |mut environ: OwnedEnviron, start_response: StartResponse| {
            let (alive, mut input) = (counted.enter(), environ.take_input());
            let is_early = path == "early";
            async move {
                if !is_early {
                    drop(input.read_all().await);
                }
                start_response.start(Status::OK).write(async move |mut writer| {
                    let _alive = alive;
                    writer.write("begun").await?;
                    drop(input.read_all().await);
                    Ok(())
                })
            }
        }));
        memory.receive(post(10).as_bytes());
        memory.receive(b"half");
        while memory.deliver() {}
        assert_eq!((says(&memory, "begun"), census.count()), (path == "early", 1));
        memory.finish();
        assert_eq!((memory.is_closed, census.count()), (true, 0), "{path}");
    }
}

/// An application that never answers, and counts who it is asked by and has not been let go.
fn never(census: &Census) -> impl Application + use<> {
    let census = census.clone();
    asynchronous(move |_: OwnedEnviron, _: StartResponse| {
        let alive = census.enter();
        async move {
            let _alive = alive;
            std::future::pending::<Responded>().await
        }
    })
}

#[test]
fn a_peer_that_ends_its_stream_or_is_cut_gives_up_what_is_awaited() {
    for end in [Memory::finish, Memory::cut] as [fn(&mut Memory); 2] {
        let census = Census::default();
        let mut memory = plain(never(&census));
        memory.receive(GET.as_bytes());
        assert_eq!(census.count(), 1);
        end(&mut memory);
        assert_eq!((census.count(), memory.sent.len()), (0, 0));
    }
}

#[test]
fn the_end_of_a_peers_stream_takes_nothing_that_has_begun() {
    let signal = Signal::default();
    let asked = signal.clone();
    let mut memory = plain(asynchronous(move |_: OwnedEnviron, start_response: StartResponse| {
        let asked = asked.clone();
        async move {
            start_response.start(Status::OK).write(async move |mut writer| {
                writer.write("begun, ").await?;
                asked.taken().await;
                writer.write("ended").await
            })
        }
    }));
    memory.receive(GET.as_bytes());
    while memory.deliver() {}
    memory.finish();
    assert!(says(&memory, "begun, ") && !memory.is_closed);
    signal.give();
    while memory.deliver() {}
    assert!(says(&memory, "ended"));
}

#[test]
fn leave_to_send_is_given_when_the_body_is_asked_for() {
    let expecting = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let (signal, seen) = (Signal::default(), Seen::default());
    let mut memory = plain(reader(&signal, &seen));
    memory.receive(expecting.as_bytes());
    memory.wait(Duration::from_secs(1000));
    assert_eq!((statuses(&memory), memory.next), (vec![], Next::Answer), "nobody has asked");
    signal.give();
    memory.deliver();
    assert_eq!((statuses(&memory), memory.next), (vec![100], Next::Receive));
    memory.receive(b"hello");
    while memory.deliver() {}
    assert_eq!(statuses(&memory), [100, 200]);
    // Who does not wait needs no leave.
    let mut memory = plain(reader(&signal, &seen));
    memory.receive(expecting.as_bytes());
    memory.receive(b"he");
    signal.give();
    memory.deliver();
    memory.receive(b"llo");
    while memory.deliver() {}
    assert_eq!(statuses(&memory), [200]);
    // Who was answered without leave may send the body or not: what comes next cannot be known.
    let mut memory = plain(unread());
    memory.receive(expecting.as_bytes());
    assert_eq!((statuses(&memory), memory.is_finished), (vec![200], true));
    assert!(says(&memory, "Connection: close"));
}

/// Answers without a look at the body.
fn unread() -> impl Application {
    asynchronous(async |_: OwnedEnviron, start_response: StartResponse| start_response.start(Status::OK).body("unread"))
}

#[test]
fn what_nobody_has_read_is_read_away_where_it_is_little() {
    let chunks = |size: usize| (CHUNKED.to_string(), format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size)));
    let sized = |size: usize| (post(size), "x".repeat(size));
    // A chunked body is only known when it has come.
    for (name, (head, body), stays, says_so) in [
        ("little", sized(20_000), true, false),
        ("as much as is read away", sized(64 * 1024), true, false),
        ("more", sized(64 * 1024 + 1), false, true),
        ("a few chunks", chunks(20_000), true, false),
        ("many chunks", chunks(100_000), false, false),
    ] {
        let mut memory = plain(unread());
        memory.receive(head.as_bytes());
        assert_eq!((statuses(&memory), says(&memory, "Connection: close")), (vec![200], says_so), "{name}");
        memory.receive(body.as_bytes());
        assert_eq!(memory.is_finished, !stays, "{name}");
        memory.receive(GET.as_bytes());
        assert_eq!(statuses(&memory).len(), if stays { 2 } else { 1 }, "{name}");
        assert_eq!(memory.held_size(), 0, "{name}");
    }
    // It has little time for it, and it must be right.
    let mut memory = plain(unread());
    memory.receive(post(100).as_bytes());
    memory.wait(Duration::from_secs(3));
    assert!(memory.is_finished);
    assert_eq!(memory.heard.met, [Limit::Drain]);
    let mut memory = plain(unread());
    memory.receive(CHUNKED.as_bytes());
    memory.receive(b"z");
    assert_eq!((statuses(&memory), memory.is_finished), (vec![200], true));
}

#[test]
fn windows_count_among_all_bodies() {
    let (signal, seen) = (Signal::default(), Seen::default());
    let mut memory = memory(reader(&signal, &seen), |limits| limits.bodies_max = 1000);
    memory.receive(post(1001).as_bytes());
    assert_eq!(statuses(&memory), [503]);
    assert_eq!(memory.held_size(), 0);
}

#[test]
fn an_endless_echo_goes_both_ways() {
    let mut memory = memory(
        asynchronous(async |mut environ: OwnedEnviron, start_response: StartResponse| {
            let mut input = environ.take_input();
            start_response.start(Status::OK).write(async move |mut writer| {
                while let Some(piece) = input.next().await {
                    writer.write(piece.map_err(std::io::Error::other)?).await?;
                }
                Ok(())
            })
        }),
        |limits| limits.body.body_max = u64::MAX,
    );
    memory.receive(CHUNKED.as_bytes());
    let mut echoed = 0;
    for round in 0..200 {
        let chunk = format!("{:x}\r\n{}\r\n", 9999, "e".repeat(9999));
        memory.receive(chunk.as_bytes());
        while memory.deliver() {}
        echoed += memory.sent.iter().filter(|byte| **byte == b'e').count();
        memory.sent.clear();
        assert!(echoed >= 9999 * (round + 1), "what comes goes back at once");
    }
    memory.receive(b"0\r\n\r\n");
    while memory.deliver() {}
    assert!(memory.sent.ends_with(b"0\r\n\r\n") && !memory.is_finished);
}

#[test]
fn a_panic_costs_its_request_and_no_more() {
    let mut memory = plain(asynchronous(async |environ: OwnedEnviron, start_response: StartResponse| {
        let path = environ.with(|environ| environ.path_info().to_vec());
        match &path[..] {
            b"/panics" => panic!("on purpose"),
            b"/fails" => start_response.fail("on purpose"),
            b"/breaks" => start_response.start(Status::OK).header("X", "a\r\nb").body("never"),
            b"/writes" => start_response.start(Status::OK).write(async |mut writer| {
                writer.write("first").await?;
                writer.write("").await?;
                panic!("on purpose")
            }),
            _ => start_response.start(Status::OK).body("fine"),
        }
    }));
    for path in ["/", "/panics", "/fails", "/breaks", "/", "/writes"] {
        memory.receive(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    }
    assert_eq!(statuses(&memory), [200, 500, 500, 500, 200, 200]);
    assert!(memory.is_closed && !memory.sent.ends_with(b"0\r\n\r\n"), "{}", memory.sent.escape_ascii());
    assert_eq!(memory.heard.faults.len(), 4);
}
