//! The server as a child process, with what the kernel says of it: memory, processor time, descriptors.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{Attacked, PATIENCE};

/// A server that has shown its banner. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    lines: Receiver<String>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// One worker, so that who attacks and who is honest meet in it.
    pub(crate) fn start(io: &str, flags: &[&str]) -> Server {
        Server::start_one(Attacked::chosen(), io, flags)
    }

    /// The same of this kind of application.
    pub(crate) fn start_one(attacked: Attacked, io: &str, flags: &[&str]) -> Server {
        Server::spawn(attacked.command(&[&["--workers", "1", "--io", io], flags].concat()))
    }

    /// A server that may have so many descriptors.
    pub(crate) fn start_with_descriptors(io: &str, count: u64, flags: &[&str]) -> Server {
        let mut command = Attacked::chosen().command(&[&["--workers", "2", "--io", io], flags].concat());
        let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
        // SAFETY: setrlimit is async-signal-safe, and the limit lies in the closure while it is read.
        unsafe {
            command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        Server::spawn(command)
    }

    fn spawn(mut command: Command) -> Server {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RINGWAY_") || name == "PORT" || name == "WEB_CONCURRENCY" {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and takes no pointer here.
        unsafe {
            // Without huge pages resident memory is what was used, not up to 2 MiB more for each region touched.
            command.pre_exec(|| match libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let mut child = command.spawn().expect("the binary is built");
        let stderr = child.stderr.take().expect("it is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // A test that has ended does not read on.
                let _ = sender.send(line);
            }
        });
        let address = loop {
            let line = lines.recv_timeout(PATIENCE).expect("it shows its banner");
            if let Some((_, rest)) = line.split_once(" on http://") {
                break rest.split([' ', ',']).next().and_then(|text| text.parse().ok()).expect("an address");
            }
        };
        let server = Server { child, lines, address };
        server.warm();
        server
    }

    /// Has each buffer of the server's start used once, so that what is measured later is growth.
    fn warm(&self) {
        // Its listeners alone; of other descriptors a worker may still open some.
        let socket_count = self.socket_count();
        let body = vec![b'w'; 64 * 1024];
        let head =
            format!("POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        let streams: Vec<TcpStream> = (0..32)
            .map(|_| {
                let mut stream = TcpStream::connect(self.address).expect("it listens");
                stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body)).expect("it is taken");
                stream
            })
            .collect();
        for mut stream in streams {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("it is answered");
            assert!(answer.ends_with(&body), "the body comes back");
        }
        self.wait_until("its first clients are gone", || self.socket_count() == socket_count);
    }

    /// Open descriptors.
    pub(crate) fn descriptor_count(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it lives").count()
    }

    fn socket_count(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it lives");
        // One that is closed meanwhile is none.
        let targets = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Resident memory in KiB, counted exactly: the number in `status` lags behind.
    pub(crate) fn resident_kib(&self) -> i64 {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).expect("it lives");
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("the kernel counts it");
        line.trim_end_matches("kB").trim().parse().expect("a number")
    }

    /// Processor time of all its threads, to the nanosecond.
    pub(crate) fn cpu(&self) -> Duration {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
        // SAFETY: both pointers are valid for their calls.
        let is_read =
            unsafe { libc::clock_getcpuclockid(id, &mut clock) == 0 && libc::clock_gettime(clock, &mut time) == 0 };
        assert!(is_read, "it lives");
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    }

    /// The share of a core that it takes while `act` goes on, in percent.
    pub(crate) fn cpu_percent(&self, act: impl FnOnce()) -> f64 {
        let (cpu, start) = (self.cpu(), Instant::now());
        act();
        100.0 * (self.cpu() - cpu).as_secs_f64() / start.elapsed().as_secs_f64()
    }

    /// Waits for what the server has to come to by itself.
    pub(crate) fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "it takes too long until {what}: {}", self.describe());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until it has the descriptors of `home` and hardly more than its memory.
    pub(crate) fn wait_for_home(&self, home: Home) {
        self.wait_until(&format!("it has {} descriptors", home.descriptor_count), || {
            self.descriptor_count() == home.descriptor_count
        });
        let resident_kib_max = home.resident_kib + SLACK_KIB;
        self.wait_until(&format!("it has at most {resident_kib_max} KiB"), || self.resident_kib() <= resident_kib_max);
    }

    /// What it holds now.
    pub(crate) fn home(&self) -> Home {
        Home { descriptor_count: self.descriptor_count(), resident_kib: self.resident_kib() }
    }

    /// What it holds once that has not become less for longer than its memory takes to come home after a rush. What is still
    /// on its way then would hide as much growth.
    pub(crate) fn settled(&self) -> Home {
        let (mut least_kib, mut since) = (self.resident_kib(), Instant::now());
        self.wait_until("its memory has come home", || {
            let resident_kib = self.resident_kib();
            if resident_kib < least_kib {
                (least_kib, since) = (resident_kib, Instant::now());
            }
            since.elapsed() > HOMEWARD_TIME
        });
        self.home()
    }

    fn describe(&self) -> String {
        format!("{} descriptors, {} KiB", self.descriptor_count(), self.resident_kib())
    }

    /// Ends it as an operator does. It has neither crashed nor panicked.
    pub(crate) fn end(mut self) {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: kill takes no pointer, and the child has not been waited for, so the id is still its own.
        assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            assert!(start.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let lines: Vec<String> = self.lines.iter().collect();
        assert!(!lines.iter().any(|line| line.contains("panicked")), "{lines:?}");
        assert_eq!(status.code(), Some(0), "{lines:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then both are harmless errors.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What may be left of an attack: allocators keep some of it.
const SLACK_KIB: i64 = 2048;

/// Longer than the ten ticks without a connection that comes or goes, at whose end the allocator is asked to collect.
const HOMEWARD_TIME: Duration = Duration::from_secs(3);

/// What a server holds before an attack, and has to hold after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home {
    pub(crate) descriptor_count: usize,
    pub(crate) resident_kib: i64,
}
