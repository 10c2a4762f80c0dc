//! The contract of `driver.rs` at its edges, on both drivers of this machine and real sockets: what comes between a
//! receive and the next, ends and resets that nobody waits for, cancellations, sends that meet no room, slots that
//! change hands. The test is the worker, so nothing but the driver is between it and the kernel.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use socket2::SockRef;

use ringway::buffer::{BLOCK_SIZE, Block, Outgoing, Payload, Pool};
use ringway::driver::{Completion, Driver, Key, Socket, epoll, uring};
use ringway::sys::{Errno, Waker};

const PATIENCE: Duration = Duration::from_secs(10);

/// A driver with one listener, and its completions in order.
struct Rig<'a> {
    driver: &'a mut dyn Driver,
    seen: VecDeque<Completion>,
    next_slot: u32,
}

/// The worker's side of a connection.
struct Near {
    key: Key,
    socket: Socket,
}

/// The last completion of a receive, or what else comes of it.
#[derive(Debug, PartialEq)]
enum Got {
    Bytes(Vec<u8>),
    End,
    Error(Errno),
}

fn parts() -> (Waker, Pool) {
    (Waker::new().expect("an eventfd"), Pool::new(0, 4096))
}

fn on_epoll(listener: OwnedFd, test: impl FnOnce(&mut Rig<'_>)) {
    let (waker, pool) = parts();
    let mut driver = epoll::Epoll::new(waker, vec![listener], pool).expect("epoll is there");
    println!("on epoll");
    begin(&mut driver, test);
}

fn on_uring(listener: OwnedFd, test: impl FnOnce(&mut Rig<'_>)) {
    println!("on uring");
    match uring::build() {
        Err(refusal) => eprintln!("skipped: on uring: {refusal}"),
        Ok(mut ring) => {
            let (waker, pool) = parts();
            let mut driver = uring::Uring::new(&mut ring, waker, vec![listener], pool).expect("the ring is set up");
            begin(&mut driver, test);
        }
    }
}

fn begin(driver: &mut dyn Driver, test: impl FnOnce(&mut Rig<'_>)) {
    driver.accept(0);
    test(&mut Rig { driver, seen: VecDeque::new(), next_slot: 0 });
}

/// Runs a test on each driver that this machine has, over TCP.
fn on_each(test: fn(&mut Rig<'_>, SocketAddr)) {
    for on in [on_epoll, on_uring] as [fn(OwnedFd, Box<dyn FnOnce(&mut Rig<'_>)>); 2] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        on(OwnedFd::from(listener), Box::new(move |rig| test(rig, address)));
    }
}

impl Rig<'_> {
    /// One turn that does not wait; its completions are kept.
    fn turn(&mut self) {
        self.driver.turn(false).expect("the driver stays usable");
        self.reap();
    }

    fn reap(&mut self) {
        while let Some(completion) = self.driver.completion() {
            self.seen.push_back(completion);
        }
    }

    /// Turns often enough for whatever is under way on this machine to arrive.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.turn();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes the first completion that `wanted` knows, and turns until there is one.
    fn take<T>(&mut self, what: &str, wanted: impl Fn(&Completion) -> bool, take: impl FnOnce(Completion) -> T) -> T {
        let start = Instant::now();
        self.reap();
        loop {
            if let Some(index) = self.seen.iter().position(&wanted) {
                return take(self.seen.remove(index).expect("it was just found"));
            }
            assert!(start.elapsed() < PATIENCE, "it takes too long until {what}");
            self.turn();
        }
    }

    fn accepted(&mut self) -> Near {
        let is_accepted = |completion: &Completion| matches!(completion, Completion::Accepted { .. });
        let slot = self.next_slot;
        self.next_slot += 1;
        self.take("it is accepted", is_accepted, |completion| match completion {
            Completion::Accepted { result: Ok(socket), .. } => Near { key: Key { slot, generation: 0 }, socket },
            _ => panic!("it is not accepted"),
        })
    }

    fn connect(&mut self, address: SocketAddr) -> (Near, TcpStream) {
        let far = TcpStream::connect(address).expect("the listen queue has room");
        far.set_nodelay(true).expect("a TCP socket has this option");
        (self.accepted(), far)
    }

    fn arm(&mut self, near: &Near) {
        self.driver.receive(near.key, &near.socket, true);
    }

    /// The next completion of an armed receive, and whether it stays armed.
    fn received(&mut self, near: &Near) -> (Got, bool) {
        let key = near.key;
        let is_ours = |one: &Completion| matches!(one, Completion::Received { key: its, .. } if *its == key);
        let completion = self.take("a receive brings something", is_ours, |completion| completion);
        let Completion::Received { result, more, .. } = completion else { unreachable!("it was chosen so") };
        let got = match result {
            Ok(Some(received)) => {
                let bytes = received.bytes().to_vec();
                self.driver.pool().give(received.block);
                Got::Bytes(bytes)
            }
            Ok(None) => Got::End,
            Err(errno) => Got::Error(errno),
        };
        (got, more)
    }

    /// The next `size` bytes; a receive that ends for want of blocks is armed again.
    fn bytes(&mut self, near: &Near, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            match self.received(near) {
                (Got::Bytes(piece), more) => {
                    bytes.extend(piece);
                    if !more {
                        self.arm(near);
                    }
                }
                (Got::Error(Errno(libc::ENOBUFS)), _) => self.arm(near),
                (got, _) => panic!("{got:?} behind {} of {size} bytes", bytes.len()),
            }
        }
        bytes
    }

    /// Cancels an armed receive. Answers what it still brought.
    fn cancel(&mut self, near: &Near) -> Vec<u8> {
        self.driver.cancel_receive(near.key, &near.socket);
        let mut bytes = Vec::new();
        loop {
            match self.received(near) {
                (Got::Bytes(piece), more) => {
                    bytes.extend(piece);
                    assert!(more, "a cancelled receive ends with an error");
                }
                (got, more) => {
                    assert_eq!((got, more), (Got::Error(Errno(libc::ECANCELED)), false));
                    return bytes;
                }
            }
        }
    }

    fn sent(&mut self, near: &Near) -> Result<(), Errno> {
        let key = near.key;
        let is_ours = |one: &Completion| matches!(one, Completion::Sent { key: its, .. } if *its == key);
        let completion = self.take("a send completes", is_ours, |completion| completion);
        let Completion::Sent { outgoing, result, .. } = completion else { unreachable!("it was chosen so") };
        if let Some(block) = outgoing.block {
            self.driver.pool().give(block);
        }
        result
    }

    fn is_sent(&self, near: &Near) -> bool {
        self.seen.iter().any(|one| matches!(one, Completion::Sent { key, .. } if *key == near.key))
    }

    fn is_received(&self, near: &Near) -> bool {
        self.seen.iter().any(|one| matches!(one, Completion::Received { key, .. } if *key == near.key))
    }
}

fn outgoing(bytes: Vec<u8>) -> Outgoing {
    Outgoing { payload: Payload::Owned(Box::new(bytes)), ..Outgoing::default() }
}

/// Bytes by which a loss, a repetition or a change of order is seen.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|index| (index * 7 + index / 251) as u8).collect()
}

#[test]
fn bytes_that_come_at_any_moment_after_a_short_receive_are_received() {
    on_each(|rig, address| {
        let (near, mut far) = rig.connect(address);
        rig.arm(&near);
        // In step: the next piece comes when the one before has been received, before the next turn.
        for number in 0..200u32 {
            far.write_all(&number.to_ne_bytes()).expect("it has room");
            assert_eq!(rig.bytes(&near, 4), number.to_ne_bytes());
        }
        // Out of step: pieces of every size, at moments that nobody has chosen, and the end right behind the last.
        let all = pattern(3_000_000);
        let mut rest = &all[..];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0;
                while !rest.is_empty() {
                    number += 1;
                    let size = (number * 37 % 2500 + 1).min(rest.len());
                    far.write_all(&rest[..size]).expect("the driver receives");
                    rest = &rest[size..];
                    if number % 5 == 0 {
                        std::thread::yield_now();
                    }
                }
                far.shutdown(Shutdown::Write).expect("it is connected");
            });
            assert!(rig.bytes(&near, 3_000_000) == pattern(3_000_000), "what was received is not what was sent");
        });
        assert_eq!(rig.received(&near), (Got::End, false));
    });
}

#[test]
fn a_receive_that_is_not_lasting_ends_with_its_first_block() {
    on_each(|rig, address| {
        let (near, mut far) = rig.connect(address);
        let once = |rig: &mut Rig<'_>| rig.driver.receive(near.key, &near.socket, false);
        for turn_count in 0..6 {
            once(rig);
            (0..turn_count % 3).for_each(|_| rig.turn());
            far.write_all(b"first").expect("it has room");
            assert_eq!(rig.received(&near), (Got::Bytes(b"first".to_vec()), false));
            far.write_all(b"second").expect("it has room");
            rig.settle();
            assert!(!rig.is_received(&near), "nothing is armed, so nothing completes");
            once(rig);
            assert_eq!(rig.received(&near), (Got::Bytes(b"second".to_vec()), false));
        }
        far.write_all(&pattern(40_000)).expect("it has room");
        let mut all = Vec::new();
        while all.len() < 40_000 {
            once(rig);
            let (Got::Bytes(piece), false) = rig.received(&near) else { panic!("{} bytes came", all.len()) };
            all.extend(piece);
        }
        assert!(all == pattern(40_000), "what was received is not what was sent");
        once(rig);
        assert_eq!(rig.cancel(&near), b"");
        drop(far);
        once(rig);
        assert_eq!(rig.received(&near), (Got::End, false));
        rig.driver.close(near.socket);
    });
}

#[test]
fn an_end_is_told_whenever_it_comes() {
    on_each(|rig, address| {
        for number in 0..200 {
            let (near, mut far) = rig.connect(address);
            match number % 4 {
                // All of it is there before the receive is armed.
                0 => {
                    far.write_all(b"last").and_then(|()| far.shutdown(Shutdown::Write)).expect("it has room");
                    rig.arm(&near);
                }
                // The end comes with the last bytes.
                1 => {
                    rig.arm(&near);
                    rig.turn();
                    far.write_all(b"last").and_then(|()| far.shutdown(Shutdown::Write)).expect("it has room");
                }
                // It comes when they have been received.
                2 => {
                    rig.arm(&near);
                    far.write_all(b"last").expect("it has room");
                    assert_eq!(rig.bytes(&near, 4), b"last");
                    far.shutdown(Shutdown::Write).expect("it is connected");
                    assert_eq!(rig.received(&near), (Got::End, false));
                    rig.driver.close(near.socket);
                    continue;
                }
                // It comes while nothing is armed, before the bytes are received.
                _ => {
                    rig.arm(&near);
                    rig.turn();
                    assert_eq!(rig.cancel(&near), b"");
                    far.write_all(b"last").and_then(|()| far.shutdown(Shutdown::Write)).expect("it has room");
                    (0..number % 3).for_each(|_| rig.turn());
                    rig.arm(&near);
                }
            }
            assert_eq!(rig.bytes(&near, 4), b"last", "case {number}");
            assert_eq!(rig.received(&near), (Got::End, false), "case {number}");
            rig.driver.close(near.socket);
        }
    });
}

#[test]
fn a_reset_is_told_to_the_next_operation() {
    on_each(|rig, address| {
        for is_receive in [true, false] {
            let (near, far) = rig.connect(address);
            rig.arm(&near);
            rig.turn();
            assert_eq!(rig.cancel(&near), b"");
            SockRef::from(&far).set_linger(Some(Duration::ZERO)).expect("a socket has this option");
            drop(far);
            rig.settle();
            assert!(!rig.is_received(&near), "nothing is armed, so nothing completes");
            if is_receive {
                rig.arm(&near);
                assert_eq!(rig.received(&near), (Got::Error(Errno(libc::ECONNRESET)), false));
            } else {
                rig.driver.send(near.key, &near.socket, outgoing(b"too late".to_vec()), true);
                assert!(matches!(rig.sent(&near), Err(Errno(libc::EPIPE | libc::ECONNRESET))));
            }
            rig.driver.close(near.socket);
        }
    });
}

#[test]
fn a_reset_ends_a_receive_and_a_send_that_waits_for_room() {
    on_each(|rig, address| {
        let (near, far) = rig.connect(address);
        rig.arm(&near);
        rig.driver.send(near.key, &near.socket, outgoing(pattern(20 << 20)), true);
        rig.settle();
        assert!(!rig.is_sent(&near), "20 MiB are more than the sockets hold");
        drop(far);
        // The kernel tells the error once, to whichever of the two asks first.
        assert!(matches!(rig.received(&near), (Got::Error(_) | Got::End, false)));
        assert!(rig.sent(&near).is_err());
        rig.driver.close(near.socket);
    });
}

#[test]
fn a_cancelled_receive_loses_neither_bytes_nor_what_told_of_them() {
    on_each(|rig, address| {
        let (near, mut far) = rig.connect(address);
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        for number in 0..60 {
            let piece = pattern(number * 1000 + 1);
            rig.arm(&near);
            // They come before the cancellation, so that the edge is seen, or behind it, when nothing is armed.
            if number % 2 == 0 {
                far.write_all(&piece).expect("it has room");
                if number % 4 == 0 {
                    rig.driver.turn(false).expect("the driver stays usable");
                }
                received.extend(rig.cancel(&near));
            } else {
                received.extend(rig.cancel(&near));
                far.write_all(&piece).expect("it has room");
                if number % 3 == 0 {
                    rig.settle();
                    assert!(!rig.is_received(&near), "nothing is armed, so nothing completes");
                }
            }
            sent.extend(piece);
            rig.arm(&near);
            received.extend(rig.bytes(&near, sent.len() - received.len()));
            received.extend(rig.cancel(&near));
            assert!(received == sent, "round {number}");
        }
        rig.driver.close(near.socket);
    });
}

#[test]
fn a_body_is_received_into_its_own_buffer_between_two_armed_receives() {
    on_each(|rig, address| {
        let (near, mut far) = rig.connect(address);
        let all = pattern(300_000);
        far.write_all(&all[..1000]).expect("it has room");
        rig.arm(&near);
        let mut body = rig.bytes(&near, 1);
        body.extend(rig.cancel(&near));
        std::thread::scope(|scope| {
            scope.spawn(|| far.write_all(&all[1000..]).and_then(|()| far.write_all(b"next")).expect("it is taken"));
            while body.len() < all.len() {
                // Less than is there, so that the rest must be asked for again; at last exactly what is missing.
                let size = (all.len() - body.len()).min(10_000);
                body.reserve_exact(size);
                rig.driver.receive_into(near.key, &near.socket, body, size);
                let is_filled = |one: &Completion| matches!(one, Completion::Filled { .. });
                let completion = rig.take("a part of the body is there", is_filled, |completion| completion);
                let Completion::Filled { key, buffer, result } = completion else { unreachable!("it was chosen so") };
                assert!(key == near.key && result.is_ok_and(|count| (1..=size).contains(&count)), "{result:?}");
                body = buffer;
            }
            assert!(body == all, "the body is not what was sent");
            rig.arm(&near);
            assert_eq!(rig.bytes(&near, 4), b"next");
        });
    });
}

#[test]
fn a_send_that_meets_no_room_goes_on_when_the_peer_reads() {
    on_each(|rig, address| {
        let (near, mut far) = rig.connect(address);
        rig.arm(&near);
        let whole = pattern(8 << 20);
        let mut block = Block::new();
        let (front, rest) = whole.split_at(BLOCK_SIZE);
        let (spill, payload) = rest.split_at(100_000);
        // Not once only: the second finds the socket as the first has left it.
        for _ in 0..2 {
            // This block is not of the pool, so it is put back by hand.
            block.copy_from_slice(front);
            let payload = Payload::Owned(Box::new(payload.to_vec()));
            let parts = Outgoing { block: Some(block), block_size: BLOCK_SIZE, spill: spill.to_vec(), payload };
            rig.driver.send(near.key, &near.socket, parts, true);
            rig.settle();
            assert!(!rig.is_sent(&near), "8 MiB are more than the sockets hold");
            let before = rig.driver.progress(near.key, &near.socket);
            far.set_nonblocking(true).expect("a socket has this mode");
            let (start, mut got, mut piece) = (Instant::now(), Vec::new(), vec![0; 64 * 1024]);
            while got.len() < whole.len() {
                assert!(start.elapsed() < PATIENCE, "{} bytes have come, then nothing", got.len());
                match far.read(&mut piece) {
                    Ok(size) => got.extend_from_slice(&piece[..size]),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                rig.turn();
            }
            assert!(got == whole, "what has come is not what was sent");
            assert!(rig.driver.progress(near.key, &near.socket) >= before);
            let is_ours = |one: &Completion| matches!(one, Completion::Sent { .. });
            let completion = rig.take("the send completes", is_ours, |completion| completion);
            let Completion::Sent { outgoing, result: Ok(()), .. } = completion else { panic!("it failed") };
            block = outgoing.block.expect("the parts come back");
        }
        // Bytes still pass in the other direction.
        far.set_nonblocking(false).expect("a socket has this mode");
        far.write_all(b"thanks").expect("it has room");
        assert_eq!(rig.bytes(&near, 6), b"thanks");
    });
}

#[test]
fn a_cancelled_send_leaves_a_socket_that_can_be_written_to() {
    on_each(|rig, address| {
        let (near, mut far) = rig.connect(address);
        rig.arm(&near);
        rig.driver.send(near.key, &near.socket, outgoing(pattern(20 << 20)), true);
        rig.settle();
        rig.driver.cancel_send(near.key, &near.socket);
        assert_eq!(rig.sent(&near), Err(Errno(libc::ECANCELED)));
        rig.driver.send(near.key, &near.socket, outgoing(b"the end".to_vec()), true);
        rig.settle();
        assert!(!rig.is_sent(&near), "there is no room yet");
        far.set_nonblocking(true).expect("a socket has this mode");
        let (start, mut got, mut piece) = (Instant::now(), Vec::new(), vec![0; 256 * 1024]);
        while !got.ends_with(b"the end") {
            assert!(start.elapsed() < PATIENCE, "the second send does not begin");
            match far.read(&mut piece) {
                Ok(size) => got.extend_from_slice(&piece[..size]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            rig.turn();
        }
        assert_eq!(rig.sent(&near), Ok(()));
    });
}

/// On epoll the driver itself shares; on the ring it is the kernel, whose share is another.
#[test]
fn sockets_that_are_flooded_are_served_alternately() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    on_epoll(OwnedFd::from(listener), |rig| {
        const FLOOD_SIZE: usize = 20 * BLOCK_SIZE;
        let (mut nears, mut fars) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (near, mut far) = rig.connect(address);
            far.set_nonblocking(true).expect("a socket has this mode");
            let flood = pattern(FLOOD_SIZE);
            let mut size = 0;
            // A socket of the loopback takes about 2.5 MiB; where one takes less, it is a smaller flood.
            while size < FLOOD_SIZE {
                match far.write(&flood[size..]) {
                    Ok(more) => size += more,
                    Err(_) => break,
                }
            }
            assert!(size > 4 * BLOCK_SIZE, "{size} bytes are no flood");
            nears.push(near);
            fars.push(far);
        }
        nears.iter().for_each(|near| rig.arm(near));
        let mut counts = [0usize; 3];
        for turn in 0..4 {
            rig.driver.turn(false).expect("the driver stays usable");
            while let Some(completion) = rig.driver.completion() {
                let Completion::Received { key, result: Ok(Some(received)), more: true } = completion else {
                    panic!("a receive has ended")
                };
                rig.driver.pool().give(received.block);
                counts[key.slot as usize] += 1;
            }
            assert_eq!(counts, [turn + 1; 3], "blocks taken after {} turns", turn + 1);
        }
        // One who comes late does not wait until the floods are over.
        let (late, mut far) = rig.connect(address);
        rig.arm(&late);
        far.write_all(b"me too").expect("it has room");
        rig.driver.turn(false).expect("the driver stays usable");
        let mut keys = Vec::new();
        while let Some(completion) = rig.driver.completion() {
            if let Completion::Received { key, result: Ok(Some(received)), .. } = completion {
                rig.driver.pool().give(received.block);
                keys.push(key);
            }
        }
        assert!(keys.contains(&late.key), "{keys:?}");
    });
}

#[test]
fn a_slot_that_changes_hands_between_two_completions_of_a_turn_gets_nothing_of_its_former_owner() {
    on_each(|rig, address| {
        for round in 0..50 {
            let (one, mut far_one) = rig.connect(address);
            let (two, mut far_two) = rig.connect(address);
            rig.arm(&one);
            rig.arm(&two);
            // More than a block, so that both stay readable, and are queued for the next turn, when they are given up.
            let flood = pattern(2 * BLOCK_SIZE + 1);
            far_one.write_all(&flood).and_then(|()| far_two.write_all(&flood)).expect("it has room");
            std::thread::sleep(Duration::from_micros(300));
            // Both are readable in this turn; the first to complete has the other closed.
            rig.driver.turn(false).expect("the driver stays usable");
            let Some(Completion::Received { key, result: Ok(Some(received)), .. }) = rig.driver.completion() else {
                panic!("one of the two comes first")
            };
            rig.driver.pool().give(received.block);
            let (mut former, other, _far_other) =
                if key == one.key { (two, one, far_one) } else { (one, two, far_two) };
            let (former_key, mut far);
            if round % 2 == 0 {
                // The new owner of the slot most likely has its descriptor too.
                rig.cancel(&former);
                rig.driver.close(former.socket);
                far = TcpStream::connect(address).expect("the listen queue has room");
                former.socket = rig.accepted().socket;
                former_key = former.key;
                former.key.generation += 1;
                rig.arm(&former);
                rig.settle();
                assert!(!rig.is_received(&former), "round {round}: the new owner got what it was not sent");
                far.write_all(b"new").expect("it has room");
            } else {
                // It was there already and has something to say, so not even a turn lies between the two owners.
                let next;
                (next, far) = rig.connect(address);
                far.write_all(b"new").expect("it has room");
                rig.cancel(&former);
                rig.driver.close(std::mem::replace(&mut former.socket, next.socket));
                former_key = former.key;
                former.key.generation += 1;
                rig.arm(&former);
            }
            assert_eq!(rig.bytes(&former, 3), b"new");
            let is_stale = |one: &Completion| matches!(one, Completion::Received { key, .. } if *key == former_key);
            assert!(!rig.seen.iter().any(is_stale), "round {round}: something was told twice");
            for near in [former, other] {
                rig.cancel(&near);
                rig.driver.close(near.socket);
            }
        }
    });
}

#[test]
fn urgent_bytes_stop_no_receive() {
    on_each(|rig, address| {
        for is_armed_first in [true, false] {
            let (near, mut far) = rig.connect(address);
            if is_armed_first {
                rig.arm(&near);
                rig.turn();
            }
            far.write_all(b"before").expect("it has room");
            SockRef::from(&far).send_out_of_band(b"!").expect("TCP has urgent bytes");
            far.write_all(b"behind").expect("it has room");
            std::thread::sleep(Duration::from_millis(1));
            if !is_armed_first {
                rig.arm(&near);
            }
            // The urgent byte itself is not in the stream.
            assert_eq!(rig.bytes(&near, 12), b"beforebehind");
            rig.cancel(&near);
            rig.driver.close(near.socket);
        }
    });
}

/// Sends bytes, and a descriptor with them.
fn pass_descriptor(far: &UnixStream, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: structures of pointers and integers, for which zero bytes are valid.
    let (mut header, mut control): (libc::msghdr, [u64; 8]) = unsafe { std::mem::zeroed() };
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the two only compute sizes; one descriptor needs less than the 64 bytes of `control`.
    let (space, length) = unsafe { (libc::CMSG_SPACE(4), libc::CMSG_LEN(4)) };
    header.msg_controllen = space as usize;
    // SAFETY: `control` is aligned, and has room for one header and its descriptor.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = length as usize;
        libc::CMSG_DATA(message).cast::<i32>().write_unaligned(far.as_raw_fd());
    }
    // SAFETY: the header and all that it points to live during the call.
    let sent = unsafe { libc::sendmsg(far.as_raw_fd(), &header, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A unix socket ends a receive behind bytes that came with a descriptor, though others follow.
#[test]
fn descriptors_passed_over_a_unix_socket_stop_no_receive() {
    for on in [on_epoll, on_uring] as [fn(OwnedFd, Box<dyn FnOnce(&mut Rig<'_>)>); 2] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("the name is free");
        let test = move |rig: &mut Rig<'_>| {
            let mut far = UnixStream::connect(&path).expect("the listen queue has room");
            let near = rig.accepted();
            pass_descriptor(&far, b"before").expect("it has room");
            far.write_all(b"behind").expect("it has room");
            rig.arm(&near);
            assert_eq!(rig.bytes(&near, 12), b"beforebehind");
        };
        on(OwnedFd::from(listener), Box::new(test));
    }
}

/// Whoever takes bytes slowly over a unix socket is seen to do so, long before a send is over.
#[test]
fn the_progress_over_a_unix_socket_is_seen() {
    for on in [on_epoll, on_uring] as [fn(OwnedFd, Box<dyn FnOnce(&mut Rig<'_>)>); 2] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("the name is free");
        let test = move |rig: &mut Rig<'_>| {
            let mut far = UnixStream::connect(&path).expect("the listen queue has room");
            far.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
            let near = rig.accepted();
            rig.driver.send(near.key, &near.socket, outgoing(vec![b'x'; 4 << 20]), true);
            rig.settle();
            let mut piece = vec![0; 64 * 1024];
            for step in 0..10 {
                let before = rig.driver.progress(near.key, &near.socket);
                // A queue is told in pieces.
                for _ in 0..4 {
                    let size = far.read(&mut piece).expect("there is more");
                    assert!(size > 0, "it is still open");
                    rig.settle();
                }
                let growth = rig.driver.progress(near.key, &near.socket).saturating_sub(before);
                assert!(growth > 0, "nothing is seen of the bytes taken in step {step}");
            }
        };
        on(OwnedFd::from(listener), Box::new(test));
    }
}

/// Of what the kernel has, only what the peer has taken is progress, and only once.
#[test]
fn the_progress_is_what_the_peer_has_taken() {
    on_each(|rig, address| {
        let (near, far) = rig.connect(address);
        let before = rig.driver.progress(near.key, &near.socket);
        rig.driver.send(near.key, &near.socket, outgoing(vec![b'x'; 16 << 20]), true);
        rig.settle();
        let growth = rig.driver.progress(near.key, &near.socket) - before;
        let mut taken: libc::c_int = 0;
        // SAFETY: the number is what this request writes.
        unsafe { libc::ioctl(far.as_raw_fd(), libc::FIONREAD, &mut taken) };
        assert!(!rig.is_sent(&near) && growth > 0 && growth <= taken as u64, "{growth} of {taken} bytes");
    });
}

#[test]
fn every_wake_is_told() {
    on_each(|rig, _address| {
        let waker = rig.driver.waker();
        let is_woken = |one: &Completion| matches!(one, Completion::Woken);
        for _ in 0..100 {
            waker.wake();
            rig.take("it is woken", is_woken, drop);
        }
        rig.turn();
        assert!(!rig.seen.iter().any(is_woken), "nobody has woken it");
    });
}

/// A peer who is held back, and one who takes nothing, leave the driver asleep.
#[test]
fn a_driver_with_nothing_to_do_waits() {
    on_each(|rig, address| {
        let (held, mut far_held) = rig.connect(address);
        rig.arm(&held);
        far_held.write_all(b"more than is wanted").expect("it has room");
        rig.bytes(&held, 1);
        rig.cancel(&held);
        far_held.write_all(&pattern(100_000)).expect("it has room");
        let (stuck, far_stuck) = rig.connect(address);
        rig.arm(&stuck);
        rig.driver.send(stuck.key, &stuck.socket, outgoing(pattern(20 << 20)), true);
        let (ended, mut far_ended) = rig.connect(address);
        rig.arm(&ended);
        far_ended.write_all(b"bye").and_then(|()| far_ended.shutdown(Shutdown::Both)).expect("it is connected");
        assert_eq!(rig.bytes(&ended, 3), b"bye");
        assert_eq!(rig.received(&ended), (Got::End, false));
        rig.settle();
        rig.driver.tick(true);
        let (start, mut turn_count, mut tick_count) = (Instant::now(), 0, 0);
        while tick_count < 3 {
            assert!(start.elapsed() < PATIENCE, "it does not tick");
            turn_count += 1;
            rig.driver.turn(true).expect("the driver stays usable");
            while let Some(completion) = rig.driver.completion() {
                tick_count += usize::from(matches!(completion, Completion::Tick));
            }
        }
        assert!(turn_count < 12, "{turn_count} turns for three ticks");
        drop((far_stuck, far_held));
    });
}

/// Counts, which no load of this machine can change. Less is not possible: one call tells of the request, one
/// brings it, one answers it.
#[test]
fn a_request_costs_epoll_three_calls() {
    let (waker, pool) = parts();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let mut driver = epoll::Epoll::new(waker, vec![OwnedFd::from(listener)], pool).expect("epoll is there");
    driver.accept(0);
    let mut far = TcpStream::connect(address).expect("the listen queue has room");
    far.set_nodelay(true).expect("a TCP socket has this option");
    const REQUEST_COUNT: u64 = 500;
    let (key, mut socket, mut before, mut answered, mut answer) = (Key { slot: 0, generation: 0 }, None, 0, 0, [0; 6]);
    far.write_all(b"request").expect("it has room");
    while answered < REQUEST_COUNT {
        driver.turn(true).expect("it stays usable");
        while let Some(completion) = driver.completion() {
            match completion {
                Completion::Accepted { result: Ok(accepted), .. } => {
                    driver.receive(key, &accepted, true);
                    socket = Some(accepted);
                    before = driver.call_count();
                }
                Completion::Received { result: Ok(Some(received)), more: true, .. } => {
                    driver.pool().give(received.block);
                    driver.send(key, socket.as_ref().expect("it was accepted"), outgoing(b"answer".to_vec()), true);
                }
                Completion::Sent { result: Ok(()), .. } => {
                    answered += 1;
                    far.read_exact(&mut answer).expect("it was sent");
                    far.write_all(b"request").expect("it has room");
                }
                _ => panic!("nothing else happens"),
            }
        }
    }
    let count = driver.call_count() - before;
    assert!(count <= 3 * REQUEST_COUNT, "{count} calls for {REQUEST_COUNT} requests");
}
