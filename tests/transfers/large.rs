//! One large body in each direction.

use std::io::{BufRead, BufReader, Read, Write};

use super::async_support::site::{Noise, Sum};
use super::attack_support::is_long;
use super::attack_support::server::Server;
use super::{answer, connect, head, on_both};

/// What a server's memory may grow by while it passes a body on, whatever its size.
const GROWTH_KIB_MAX: i64 = 4 * 1024;
/// Bytes between two looks at the memory.
const LOOK_SIZE: u64 = 2 << 20;

fn size() -> u64 {
    if is_long() { 1 << 30 } else { 64 << 20 }
}

/// The memory of a server while something passes through it.
struct Watch<'s> {
    server: &'s Server,
    before_kib: i64,
    highest_kib: i64,
    looked_at: u64,
}

impl<'s> Watch<'s> {
    fn new(server: &'s Server) -> Watch<'s> {
        let before_kib = server.resident_kib();
        Watch { server, before_kib, highest_kib: before_kib, looked_at: 0 }
    }

    fn look(&mut self, passed: u64) {
        if passed >= self.looked_at + LOOK_SIZE {
            self.highest_kib = self.highest_kib.max(self.server.resident_kib());
            self.looked_at = passed;
        }
    }

    fn judge(mut self, what: &str) {
        self.look(u64::MAX);
        let growth_kib = self.highest_kib - self.before_kib;
        println!("{what}: {} MiB, {growth_kib} KiB more", size() >> 20);
        assert!(growth_kib < GROWTH_KIB_MAX, "{what}: memory grew by {growth_kib} KiB");
    }
}

#[test]
fn an_upload_of_any_size_takes_hardly_any_memory() {
    on_both("an_upload_of_any_size", &["--body-max", "0"], |server, io| {
        for framing in ["length", "chunks"] {
            upload(server, io, framing);
        }
    });
}

fn upload(server: &Server, io: &str, framing: &str) {
    let mut stream = connect(server);
    let mut watch = Watch::new(server);
    let field = match framing {
        "length" => format!("Content-Length: {}", size()),
        _ => "Transfer-Encoding: chunked".into(),
    };
    write(&mut stream, format!("POST /upload HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n").as_bytes());
    let (mut noise, mut sum, mut passed) = (Noise::seeded(), Sum::of_nothing(), 0);
    while passed < size() {
        // Of many sizes, none of them that of a block.
        let piece_size = (size() - passed).min(1 + passed % 70_001);
        let mut piece = vec![0; piece_size as usize];
        noise.fill(&mut piece);
        sum.add(&piece);
        passed += piece_size;
        if framing == "chunks" {
            piece = [format!("{piece_size:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
        }
        write(&mut stream, &piece);
        watch.look(passed);
    }
    if framing == "chunks" {
        write(&mut stream, b"0\r\n\r\n");
    }
    assert_eq!(answer(&mut stream), sum.text(), "the same bytes in the same order");
    watch.judge(&format!("{io}, upload by {framing}"));
}

fn write(stream: &mut std::net::TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).expect("it is taken");
}

#[test]
fn a_download_of_any_size_takes_hardly_any_memory() {
    on_both("a_download_of_any_size", &[], |server, io| {
        let mut stream = connect(server);
        let mut watch = Watch::new(server);
        write(&mut stream, format!("GET /download/{} HTTP/1.1\r\nHost: h\r\n\r\n", size()).as_bytes());
        let head = head(&mut stream);
        assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
        let mut reader = BufReader::with_capacity(64 * 1024, stream);
        let (mut noise, mut expected, mut sum, mut passed) = (Noise::seeded(), Sum::of_nothing(), Sum::of_nothing(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a chunk comes");
            let chunk_size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk has its size");
            let mut chunk = vec![0; chunk_size + 2];
            reader.read_exact(&mut chunk).expect("it is whole");
            assert!(chunk.ends_with(b"\r\n"), "a chunk ends with its line");
            if chunk_size == 0 {
                break;
            }
            sum.add(&chunk[..chunk_size]);
            noise.fill(&mut chunk[..chunk_size]);
            expected.add(&chunk[..chunk_size]);
            passed += chunk_size as u64;
            watch.look(passed);
        }
        assert_eq!((passed, sum.text()), (size(), expected.text()), "the same bytes in the same order");
        watch.judge(&format!("{io}, download"));
    });
}
