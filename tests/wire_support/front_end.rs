//! What an implementation offers so that the wire cases can be run against it.

/// A way to talk to a server: a connection in memory, a worker on a simulated kernel, a socket.
pub trait FrontEnd {
    /// What messages call it.
    fn name(&self) -> &str;

    /// Whether it serves this application with these flags. Cases for others are left out, and counted.
    fn serves(&self, app: &str, flags: &str) -> bool {
        let _ = (app, flags);
        true
    }

    /// Whether [`End::Open`] is seen and not waited for. Where it is, every segmentation of a case that must
    /// remain open is judged as such; where it is not (a socket), one is, and the others end by a FIN.
    fn sees_idle(&self) -> bool;

    /// At how many places an input is cut in two, at most: fewer where segments may be joined on their way, so
    /// that a cut proves little, or where an exchange is dear.
    fn split_count_max(&self) -> usize {
        usize::MAX
    }

    /// Makes a connection, does what `exchange` says on it, and gives it up.
    fn exchange(&mut self, exchange: &Exchange<'_>) -> Outcome;
}

/// One conversation from the client's side.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The application, `echo:app`.
    pub app: &'a str,
    /// The flags of the server, usually none.
    pub flags: &'a str,
    /// The bytes, each segment as its own receive as far as the front end can arrange it. After each, the
    /// server gets the chance to act. A server that has closed gets no more of them.
    pub segments: &'a [&'a [u8]],
    /// Whether the client finishes sending after the last segment.
    pub fin: bool,
    /// `None`: the server is expected to close; read until it has. `Some`: it is expected to stay open, and
    /// this tells of the bytes received so far whether all that is expected has come. Only a front end that
    /// doesn't see idleness needs it, to know from when on silence means something.
    pub enough: Option<Enough<'a>>,
}

/// Tells of the bytes received so far whether all that is expected has come.
pub type Enough<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What came of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Every byte that the server sent.
    pub bytes: Vec<u8>,
    /// The state that the connection was left in.
    pub end: End,
}

/// The state of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The server waits for more bytes.
    Open,
    /// The server has finished sending, in order (an end of file).
    Closed,
    /// The server has broken the connection off (a reset).
    Aborted,
}
