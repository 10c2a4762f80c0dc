//! Runs the built binary: to its end, or until its banner, with every wait bounded.

use std::ffi::c_int;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How a process ended and what it said.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A server that has shown its banner. Dropping it kills it.
pub(crate) struct Ringway {
    child: Child,
    lines: Receiver<String>,
    /// The lines of stderr before the banner.
    pub(crate) before_banner: Vec<String>,
    pub(crate) banner: String,
}

/// The command, without what the environment of the tests may say.
pub(crate) fn ringway(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    clean(command.args(arguments));
    command
}

/// A command without what the environment of the tests may say to it.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGWAY_") || name == "PORT" || name == "WEB_CONCURRENCY" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that ends by itself.
pub(crate) fn run(command: &mut Command) -> Ended {
    let child = piped(command);
    let mut server = Ringway::of(child);
    let code = server.end();
    server.ended(code)
}

/// The processes whose parent this is.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("there is /proc").map_while(Result::ok);
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| parent_of(*id) == Some(parent))
        .collect()
}

/// The parent of a process that lives.
pub(crate) fn parent_of(id: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if state == "Z" { None } else { fields.next()?.parse().ok() }
}

pub(crate) fn kill(id: i32) {
    // SAFETY: kill takes no pointer.
    assert_eq!(unsafe { libc::kill(id, libc::SIGKILL) }, 0);
}

/// The whole answer to a request to this port.
pub(crate) fn get_from(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

/// Says that a test cannot run here.
pub(crate) fn skip(name: &str, cause: &str) {
    eprintln!("skipped: {name}: {cause}");
}

fn piped(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the command starts")
}

impl Ringway {
    pub(crate) fn start(arguments: &[&str]) -> Ringway {
        Ringway::spawn(&mut ringway(arguments))
    }

    /// Starts a command and waits for its banner.
    pub(crate) fn spawn(command: &mut Command) -> Ringway {
        let mut server = Ringway::of(piped(command));
        loop {
            let line = server.line();
            if line.contains("ringway 0.1.0: ") {
                server.banner = line;
                return server;
            }
            server.before_banner.push(line);
        }
    }

    fn of(mut child: Child) -> Ringway {
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // A test that has ended does not read on.
                let _ = sender.send(line);
            }
        });
        Ringway { child, lines, before_banner: Vec::new(), banner: String::new() }
    }

    /// The next line of stderr.
    pub(crate) fn line(&mut self) -> String {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => panic!("no line came; before it: {:?}", self.before_banner),
        }
    }

    /// The next line of stderr with this in it; what comes before is passed over.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
            self.before_banner.push(line);
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, rest) = self.banner.split_once("http://").expect("the banner has an address");
        let address = rest.split([' ', ',']).next().unwrap_or_default();
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the address has a port")
    }

    /// The whole answer to a request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    /// A connection with a request that never ends. `100 Continue` shows that the server has its head.
    pub(crate) fn begin_request(&self) -> TcpStream {
        let mut stream = self.connect();
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).expect("it takes a head");
        let mut answer = [0; 25];
        stream.read_exact(&mut answer).expect("it wants the body");
        assert!(answer.starts_with(b"HTTP/1.1 100 Continue"));
        stream
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream
    }

    /// What reads stdout; then [`Ringway::wait`] does not.
    pub(crate) fn take_stdout(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().expect("stdout is a pipe that nobody has taken")
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id fits")
    }

    pub(crate) fn signal(&self, signal: c_int) {
        let id = self.id();
        // SAFETY: kill takes no pointer, and the child has not been waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }

    pub(crate) fn terminate(self) -> Ended {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    pub(crate) fn wait(mut self) -> Ended {
        let code = self.end();
        self.ended(code)
    }

    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end; before it: {:?}", self.before_banner);
            // Its lines end when it does, and wake this loop.
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(20)) {
                self.before_banner.push(line);
            }
        }
    }

    fn ended(mut self, code: Option<i32>) -> Ended {
        let mut stdout = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout).expect("stdout is text");
        }
        let kept = if self.banner.is_empty() { std::mem::take(&mut self.before_banner) } else { self.after_banner() };
        let mut stderr: String = kept.iter().map(|line| format!("{line}\n")).collect();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            stderr.push_str(&line);
            stderr.push('\n');
        }
        Ended { code, stdout, stderr }
    }

    fn after_banner(&mut self) -> Vec<String> {
        self.before_banner.drain(..).filter(|line| !line.contains("epoll serves instead")).collect()
    }
}

impl Drop for Ringway {
    fn drop(&mut self) {
        // It may have ended already; then both are harmless errors.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has the child inherit `listener` as descriptor `number`.
pub(crate) fn inherit(command: &mut Command, listener: &TcpListener, number: i32) {
    let listener = listener.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe, takes no pointer, and the listener outlives the spawn.
    unsafe {
        command.pre_exec(move || match libc::dup2(listener, number) {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// Has the child begin with SIGTERM blocked.
pub(crate) fn block_terminate(command: &mut Command) {
    // SAFETY: sigset functions and sigprocmask are async-signal-safe, and zeroed bytes are a valid set.
    unsafe {
        command.pre_exec(|| {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            match libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// Has the kernel answer EPERM to the child's io_uring calls, as the seccomp profiles of containers do.
/// Answers whether the calls have these numbers here.
pub(crate) fn refuse_io_uring(command: &mut Command) -> bool {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        return false;
    }
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let eperm = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap_or(1);
    let filter = [
        // The number of the call lies at the beginning of seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 2, 425),
        statement(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, 1, 0, 427),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, eperm),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    // SAFETY: both calls are async-signal-safe, and the filter lives in the closure while they read it.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: 5, filter: filter.as_ptr().cast_mut() };
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    true
}

/// How long anything may take; it is never waited for in full unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
