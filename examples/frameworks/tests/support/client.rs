//! A client that sends bytes as they are, and reads answers as far as their framing says.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use super::PATIENCE;

/// What a client does on its connection, one after the other.
#[derive(Clone)]
pub enum Step {
    /// Sends this; what follows does not wait for it to be taken.
    Send(Arc<[u8]>),
    /// Reads until this has come.
    Await(&'static str),
}

/// One answer, without the framing of its body.
#[derive(Debug)]
pub struct Answer {
    /// Statuses of 1xx before it.
    pub interim: Vec<u16>,
    pub status: u16,
    pub reason: String,
    /// Names in lower case, in the order in which they came.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A connection and what has come of it.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    is_ended: bool,
    sending: Option<JoinHandle<()>>,
}

impl Answer {
    /// The values of a field, one behind the other.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.fields.iter().filter(|(other, _)| other == name).map(|(_, value)| &value[..]).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the listen queue has room");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket has this option");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket has this option");
        stream.set_nodelay(true).expect("a socket has this option");
        Client { stream, received: Vec::new(), is_ended: false, sending: None }
    }

    /// Takes these steps, and reads the answers to requests of these methods.
    pub fn play(mut self, steps: &[Step], methods: &[&str]) -> Vec<Answer> {
        for step in steps {
            match step {
                Step::Send(bytes) => self.send(bytes.clone()),
                Step::Await(text) => {
                    while memchr::memmem::find(&self.received, text.as_bytes()).is_none() {
                        assert!(self.receive(), "it ended before {text:?}: {}", self.received.escape_ascii());
                    }
                }
            }
        }
        let answers = methods.iter().map(|method| self.answer(method)).collect();
        self.end_sending();
        answers
    }

    fn send(&mut self, bytes: Arc<[u8]>) {
        self.end_sending();
        let mut stream = self.stream.try_clone().expect("there are descriptors");
        // A server that has answered need not read to the end.
        self.sending = Some(std::thread::spawn(move || drop(stream.write_all(&bytes))));
    }

    fn end_sending(&mut self) {
        if let Some(sending) = self.sending.take() {
            sending.join().expect("it does not panic");
        }
    }

    /// Answers whether the connection goes on.
    fn receive(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        let size = loop {
            match self.stream.read(&mut bytes) {
                // A ring in this process interrupts calls that have a timeout.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read.expect("it answers in time and in order"),
            }
        };
        self.received.extend_from_slice(&bytes[..size]);
        self.is_ended = size == 0;
        size > 0
    }

    fn answer(&mut self, method: &str) -> Answer {
        let mut interim = Vec::new();
        let (status, reason, fields) = loop {
            let (status, reason, fields) = self.head();
            if !(100..200).contains(&status) {
                break (status, reason, fields);
            }
            interim.push(status);
        };
        let mut answer = Answer { interim, status, reason, fields, body: Vec::new() };
        if method == "HEAD" || status == 204 || status == 304 {
            return answer;
        }
        let size = answer.field("content-length").map(|size| size.parse().expect("a length is a number"));
        answer.body = match (answer.field("transfer-encoding").as_deref(), size) {
            (Some("chunked"), None) => self.chunks(),
            (None, Some(size)) => self.take(size),
            (None, None) => self.rest(),
            framing => panic!("the body has no end: {framing:?}"),
        };
        answer
    }

    fn head(&mut self) -> (u16, String, Vec<(String, String)>) {
        let head = self.line_to("\r\n\r\n");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let (version, status) = status_line.split_once(' ').unwrap_or_default();
        assert!(version == "HTTP/1.1" || version == "HTTP/1.0", "{head}");
        let (status, reason) = status.split_once(' ').unwrap_or((status, ""));
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_lowercase(), value.trim().to_string())).collect();
        (status.parse().expect("a status is a number"), reason.to_string(), fields)
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line_to("\r\n");
            let size = usize::from_str_radix(&line, 16).expect("a chunk has a size");
            if size == 0 {
                assert_eq!(self.line_to("\r\n"), "", "nobody has asked for trailers");
                return body;
            }
            body.extend(self.take(size));
            assert_eq!(self.line_to("\r\n"), "", "a chunk ends where it says");
        }
    }

    /// What comes before `end`, without it.
    fn line_to(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = memchr::memmem::find(&self.received, end.as_bytes()) {
                let line = String::from_utf8_lossy(&self.take(at)).into_owned();
                self.take(end.len());
                return line;
            }
            assert!(self.receive(), "it ended: {}", self.received.escape_ascii());
        }
    }

    fn take(&mut self, size: usize) -> Vec<u8> {
        while self.received.len() < size {
            assert!(self.receive(), "it ended {} bytes early", size - self.received.len());
        }
        self.received.drain(..size).collect()
    }

    fn rest(&mut self) -> Vec<u8> {
        while !self.is_ended {
            self.receive();
        }
        std::mem::take(&mut self.received)
    }
}
