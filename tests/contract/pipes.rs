//! Bodies that another thread writes, and streams that wait to be nudged.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringway::response::pipe::{Reader, Writer, pipe};
use ringway::{Application, Nudge, Payload, Pulled, Room, Status, Stream, app};

use crate::support::fixtures::pattern;
use crate::talk::{get, request, talk};

/// Streams what `write` writes, in a thread of its own.
fn piping(write: fn(Writer)) -> impl Application {
    app(move |_, start_response| {
        let (writer, reader) = pipe();
        std::thread::spawn(move || write(writer));
        start_response.start(Status::OK).stream(reader)
    })
}

/// Everything that a reader has, and the number of pulls that found nothing.
fn read(mut reader: Reader) -> io::Result<(usize, usize)> {
    let (mut size, mut pending_count) = (0, 0);
    let nudge = Nudge::this_thread();
    loop {
        let mut bytes = [0; 1000];
        let mut room = Room::with_nudge(&mut bytes, &nudge);
        let pulled = reader.pull(&mut room)?;
        size += room.size();
        match pulled {
            Pulled::End => return Ok((size, pending_count)),
            Pulled::More => {}
            Pulled::Pending => {
                pending_count += 1;
                std::thread::park();
            }
        }
    }
}

#[test]
fn what_is_written_and_lent_comes_in_order() {
    let reply = get(piping(|mut writer| {
        for piece in pattern(1_000_000).chunks(70_000) {
            let (copied, lent) = piece.split_at(piece.len() / 3);
            writer.write(copied).expect("the reader is there");
            writer.lend(Payload::Owned(Box::new(lent.to_vec()))).expect("the reader is there");
        }
        writer.finish();
    }));
    assert!(reply.body == pattern(1_000_000));
}

#[test]
fn a_writer_that_is_dropped_or_fails_aborts_the_response() {
    for (write, reason) in [
        ((|mut writer: Writer| writer.write(b"some").expect("the reader is there")) as fn(Writer), "dropped"),
        (|writer: Writer| writer.fail("the disk is gone"), "the disk is gone"),
    ] {
        let memory = talk(piping(write), request("GET", "/"));
        assert!(memory.is_closed && !memory.sent.ends_with(b"0\r\n\r\n"));
        assert!(memory.heard.faults[0].contains(reason), "{:?}", memory.heard.faults);
    }
}

#[test]
fn a_reader_that_is_gone_ends_a_writer_that_blocks() {
    let (mut writer, reader) = pipe();
    let leaving = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        drop(reader);
    });
    let error = writer.write(&pattern(200_000)).expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(writer.lend(Payload::Static(b"x")).expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    leaving.join().expect("it has left");
}

#[test]
fn a_reader_is_pulled_once_for_each_write_and_does_not_spin() {
    let (mut writer, reader) = pipe();
    let writing = std::thread::spawn(move || {
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(10));
            writer.write(b"abc").expect("the reader is there");
        }
        writer.finish();
    });
    let (size, pending_count) = read(reader).expect("it ends in order");
    writing.join().expect("it has written");
    assert_eq!(size, 15);
    assert!(pending_count <= 12, "{pending_count}");
}

/// Waits for the nudge of its first pull, and counts pulls.
struct Waiting(Arc<AtomicUsize>, Option<Nudge>);

impl Stream for Waiting {
    fn pull(&mut self, room: &mut Room<'_>) -> io::Result<Pulled> {
        if self.0.fetch_add(1, Ordering::SeqCst) > 0 {
            // An earlier request's nudge is stale: it must not disturb what comes behind it.
            self.1.take().into_iter().for_each(|nudge| nudge.nudge());
            room.put(b"there");
            return Ok(Pulled::End);
        }
        let nudge = room.nudge();
        self.1 = Some(nudge.clone());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            nudge.nudge();
        });
        Ok(Pulled::Pending)
    }
}

#[test]
fn a_pending_stream_is_pulled_by_its_nudge_and_not_before() {
    let pulls = Arc::new(AtomicUsize::new(0));
    let counted = pulls.clone();
    let streaming =
        app(move |_, start_response| start_response.start(Status::OK).stream(Waiting(counted.clone(), None)));
    assert_eq!(get(streaming).body, b"there");
    assert_eq!(pulls.load(Ordering::SeqCst), 2);
}
