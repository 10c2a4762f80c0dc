//! What a script is: some peers, what each says and waits for, and how its connection ends. Data only.

use std::time::Duration;

use ringway::connection::Limits;

/// Some peers of one worker.
#[derive(Clone)]
pub struct Script {
    /// What messages call it.
    pub name: String,
    pub room: Room,
    pub talks: Vec<Talk>,
    pub same: Same,
}

/// What the worker has been given.
#[derive(Clone)]
pub struct Room {
    pub connection_count_max: usize,
    pub block_count_max: usize,
    pub graceful_timeout: Duration,
    pub limits: Limits,
}

/// One peer's side of a conversation.
#[derive(Clone)]
pub struct Talk {
    pub steps: Vec<Step>,
    pub reader: Reader,
    /// The statuses of all answers, separated by blanks.
    pub answers: &'static str,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One segment; the next step comes when it has been received, or is on its way.
    Say(Vec<u8>),
    /// Waits until this has come, behind what was heard before.
    Hear(&'static [u8]),
    /// Finishes sending.
    Finish,
    /// Resets the connection and has no further part.
    Reset,
    /// Has the worker drain, and waits until it listens no more.
    Drain,
}

/// How a peer takes its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Fast,
    /// A little at a time, through a small window.
    Slow,
    /// Not at all.
    Stuck,
}

/// How a connection ends, as its peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server has finished sending, in order. Where the peer has finished before, it has asked for that;
    /// where it has not, the server would not keep the connection.
    Closed,
    /// The server has reset the connection.
    Reset,
    /// The peer has reset it.
    Left,
}

/// How much of what a peer gets is always the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// All of it, unless a fault costs the connection.
    All,
    /// All of it without a fault; a fault may shift what meets what, and so leave only a beginning.
    Beginning,
    /// The same; and what meets what cannot be arranged on sockets.
    Simulated,
}

impl Script {
    pub fn new(name: impl Into<String>, talks: Vec<Talk>) -> Script {
        Script { name: name.into(), room: Room::default(), talks, same: Same::All }
    }

    pub fn same(mut self, same: Same) -> Script {
        self.same = same;
        self
    }

    pub fn connections(mut self, count_max: usize) -> Script {
        self.room.connection_count_max = count_max;
        self
    }

    pub fn blocks(mut self, count_max: usize) -> Script {
        self.room.block_count_max = count_max;
        self
    }

    pub fn graceful(mut self, timeout: Duration) -> Script {
        self.room.graceful_timeout = timeout;
        self
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Script {
        change(&mut self.room.limits);
        self
    }
}

impl Default for Room {
    fn default() -> Room {
        let limits = Limits { linger_timeout: Duration::from_secs(5), ..Limits::default() };
        Room { connection_count_max: 100, block_count_max: 1000, graceful_timeout: Duration::from_secs(30), limits }
    }
}

impl Talk {
    pub fn new(steps: Vec<Step>, answers: &'static str, end: End) -> Talk {
        Talk { steps, reader: Reader::Fast, answers, end }
    }

    pub fn reader(mut self, reader: Reader) -> Talk {
        self.reader = reader;
        self
    }
}

/// What came of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// For each talk every byte that the server sent, the Dates blank, and how the connection ended.
    pub talks: Vec<(Vec<u8>, End)>,
    /// Connections with a request in service that the drain has cut.
    pub cut_count: usize,
}

/// The bytes without the field that says whether the connection is kept: a drain may meet an answer or not.
pub fn without_connection(bytes: &[u8]) -> Vec<u8> {
    let mut result = bytes.to_vec();
    for field in CONNECTION_FIELDS {
        while let Some(at) = memchr::memmem::find(&result, field) {
            result.drain(at..at + field.len());
        }
    }
    result
}

/// The same for bytes that may end within that field.
pub fn without_begun_connection(bytes: &[u8]) -> Vec<u8> {
    let mut result = without_connection(bytes);
    if let Some(at) = memchr::memmem::rfind(&result, b"\r\n")
        && CONNECTION_FIELDS.iter().any(|field| field.starts_with(&result[at..]))
    {
        result.truncate(at);
    }
    result
}

const CONNECTION_FIELDS: [&[u8]; 2] = [b"\r\nConnection: close", b"\r\nConnection: keep-alive"];

/// The statuses of the answers in `bytes`. No body of the application has anything like a status line.
pub fn statuses(bytes: &[u8]) -> String {
    let starts = memchr::memmem::find_iter(bytes, b"HTTP/1.1 ");
    let status = |at: usize| String::from_utf8_lossy(bytes.get(at + 9..at + 12).unwrap_or_default()).into_owned();
    starts.map(status).collect::<Vec<_>>().join(" ")
}
