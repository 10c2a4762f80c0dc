//! More requests at once than the ring has blocks for: who finds none is served soon, and does not take it from others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ringway::config::{Config, Io, Pin};
use ringway::server::Server;
use ringway::{Environ, Responded, StartResponse, Status, driver::uring};

const CONNECTION_COUNT: usize = 512;
const ROUND_COUNT: usize = 40;
/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn few_receives_starve_however_many_ask_at_once() {
    if let Err(refusal) = uring::probe() {
        return eprintln!("skipped: few_receives_starve_however_many_ask_at_once: {refusal}");
    }
    let (held, is_held) = mpsc::channel();
    let (let_go, gone) = mpsc::channel();
    let gate = Arc::new(Mutex::new((held, gone)));
    let config = Config {
        binds: vec!["127.0.0.1:0".parse().expect("an address")],
        worker_count: 1,
        pin: Pin::Off,
        io: Io::Uring,
        ..Config::default()
    };
    let running = Server::new(config, move || {
        let gate = gate.clone();
        Box::new(ringway::app(move |environ: &Environ<'_>, start_response| {
            if environ.path_info() == b"/hold" {
                let gate = gate.lock().expect("nobody panics over it");
                gate.0.send(()).expect("the test is there");
                gate.1.recv_timeout(PATIENCE).expect("it is let go");
            }
            answer(start_response)
        }))
    })
    .start()
    .expect("it starts");
    let address = running.addresses()[0];
    let mut holder = connect(address);
    let mut others: Vec<_> = (0..CONNECTION_COUNT).map(|_| connect(address)).collect();
    for _ in 0..ROUND_COUNT {
        holder.write_all(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n").expect("it takes it");
        is_held.recv_timeout(PATIENCE).expect("it is held");
        others.iter_mut().for_each(ask);
        let_go.send(()).expect("the application is there");
        others.iter_mut().chain([&mut holder]).for_each(expect_answer);
    }
    // And without waiting for one another, as a generator of load does.
    thread::scope(|scope| {
        for share in others.chunks_mut(CONNECTION_COUNT / 4) {
            scope.spawn(|| {
                for _ in 0..ROUND_COUNT {
                    share.iter_mut().for_each(ask);
                    share.iter_mut().for_each(expect_answer);
                }
            });
        }
    });
    // Each may find none once and is served when its turn has come; where those who are fed take from those who are armed,
    // it is three times and more.
    let counts = running.counts();
    let request_count = (2 * CONNECTION_COUNT * ROUND_COUNT) as u64;
    println!("{} of {request_count} starved", counts.starved);
    assert!(counts.starved <= request_count, "{} of {request_count} starved", counts.starved);
    running.drain();
    drop((holder, others));
    running.join().expect("it ends in order");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("there is room");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
    stream
}

fn answer(start_response: StartResponse<'_>) -> Responded<'_> {
    start_response.start(Status::OK).body("ok")
}

fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("it takes it");
}

fn expect_answer(stream: &mut TcpStream) {
    let mut bytes = [0; 1024];
    let size = stream.read(&mut bytes).expect("it answers");
    assert!(bytes[..size].ends_with(b"\r\n\r\nok"), "{}", String::from_utf8_lossy(&bytes[..size]));
}
