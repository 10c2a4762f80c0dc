//! A task per connection on tokio-uring's TcpStream: `tokio-uring-streams PORT`.
//!
//! This is the way to io_uring that the ecosystem offers to everyone: owned buffers, httparse, `write_all`.
//! All answers to one receive are gathered and written at once.

use ringway_peers::date::date;
use ringway_peers::field::{HELLO, STATIC_BODY, run};
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::SystemTime;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::{TcpListener, TcpStream};

const RECEIVE_SIZE: usize = 16 * 1024;

struct Request {
    head_size: usize,
    body_size: usize,
    path: String,
    closes: bool,
}

fn main() -> ExitCode {
    run("tokio-uring-streams", |address| tokio_uring::start(serve(address)))
}

async fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that fails is the peer's own affair.
        tokio_uring::spawn(async move { drop(converse(stream).await) });
    }
}

async fn converse(stream: TcpStream) -> io::Result<()> {
    let (mut received, mut answers) = (Vec::new(), Vec::new());
    let mut dated = (0, String::new());
    loop {
        received.reserve(RECEIVE_SIZE);
        let filled = received.len();
        let (outcome, part) = stream.read(received.slice(filled..)).await;
        received = part.into_inner();
        if outcome? == 0 {
            return Ok(());
        }
        let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        if dated.0 != second {
            dated = (second, date());
        }
        let (mut used, mut closes) = (0, false);
        while let Some(request) = parse(&received[used..])?.filter(|_| !closes) {
            let body_start = used + request.head_size;
            if received.len() < body_start + request.body_size {
                received.reserve(body_start + request.body_size - received.len());
                break;
            }
            used = body_start + request.body_size;
            closes = request.closes;
            let (kind, body): (_, &[u8]) = match request.path.as_str() {
                "/echo" => ("application/octet-stream", &received[body_start..used]),
                "/static" => ("application/octet-stream", &STATIC_BODY),
                _ => ("text/plain", HELLO.as_bytes()),
            };
            put_head(&mut answers, &dated.1, kind, body.len());
            if request.path == "/static" {
                // What lies in memory for ever is written from there, after what is owed before it.
                answers = write(&stream, answers).await?;
                stream.write_all(&STATIC_BODY[..]).await.0?;
            } else {
                answers.extend_from_slice(body);
            }
        }
        received.drain(..used);
        answers = write(&stream, answers).await?;
        if closes {
            return Ok(());
        }
    }
}

/// Writes all answers and returns their memory, empty.
async fn write(stream: &TcpStream, mut answers: Vec<u8>) -> io::Result<Vec<u8>> {
    if !answers.is_empty() {
        let (outcome, written) = stream.write_all(answers).await;
        outcome?;
        answers = written;
        answers.clear();
    }
    Ok(answers)
}

fn put_head(answers: &mut Vec<u8>, date: &str, kind: &str, size: usize) {
    let mut head = String::with_capacity(160);
    let _ = write!(
        head,
        "HTTP/1.1 200 OK\r\nServer: tokio-uring\r\nDate: {date}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    );
    answers.extend_from_slice(head.as_bytes());
}

fn parse(bytes: &[u8]) -> io::Result<Option<Request>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(head_size) = request.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let (mut body_size, mut closes) = (0, false);
    for field in request.headers.iter() {
        if field.name.eq_ignore_ascii_case("content-length") {
            let text = str::from_utf8(field.value).map_err(io::Error::other)?;
            body_size = text.parse().map_err(io::Error::other)?;
        } else if field.name.eq_ignore_ascii_case("connection") {
            closes = field.value.eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some(Request { head_size, body_size, path: request.path.unwrap_or("/").to_owned(), closes }))
}
