//! The wire cases (`tests/wire/*.http`) on every front end.
//!
//! A front end is one `impl FrontEnd` and one test that calls `check::run`. What the cases look like is in
//! `tests/wire/README.md`; how one is run in five ways is in `tests/wire_support/check.rs`.

pub mod support;
pub mod wire_support;

#[path = "wire_support/proof.rs"]
mod proof;

#[cfg(feature = "async")]
pub mod async_support;

#[cfg(feature = "wsgi")]
#[path = "wire_support/python.rs"]
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringway::Application;
use ringway::buffer::Pool;
use ringway::config::{Config, Io, Pin};
use ringway::connection::Limits;
use ringway::driver::Driver;
use ringway::driver::sim::{self, Odds, Sim, SimPeer};
use ringway::environ::Origin;
use ringway::server::Server;
use ringway::stats::Row;
use ringway::sys::Waker;
use ringway::worker::{Control, Settings, Worker};

use support::fixtures;
use support::memory::Memory;
use wire_support::case::load_all;
use wire_support::check;
use wire_support::front_end::{End, Exchange, FrontEnd, Outcome};
use wire_support::socket::SocketFrontEnd;

/// The rows of HTTP_RULES.md that the wire can show.
const ROWS: std::ops::RangeInclusive<u8> = 1..=83;

#[test]
fn every_case_file_parses_and_names_are_unique() {
    let cases = load_all().unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(cases.len() >= 200, "only {} cases", cases.len());
}

#[test]
fn every_row_has_a_case() {
    let cases = load_all().unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
    for row in cases.iter().flat_map(|case| &case.rows) {
        *counts.entry(*row).or_default() += 1;
    }
    let numbered: Vec<String> = counts.iter().map(|(row, count)| format!("{row}:{count}")).collect();
    println!("{} cases; by row {}", cases.len(), numbered.join(" "));
    let missing: Vec<u8> = ROWS.filter(|row| !counts.contains_key(row)).collect();
    assert!(missing.is_empty(), "rows without a case: {missing:?}");
    let unknown: Vec<&u8> = counts.keys().filter(|row| !ROWS.contains(row)).collect();
    assert!(unknown.is_empty(), "rows that the rules don't have: {unknown:?}");
}

#[test]
fn every_case_is_for_an_app_that_exists() {
    const APPS: &[&str] = &["hello:app", "hello:json", "echo:app", "environ:app"];
    const FIXTURES: &[&str] =
        &["early", "nobody204", "s304", "stream", "short", "long", "crlf", "ownte", "badcl", "panic", "reads"];
    for case in load_all().unwrap_or_else(|refusal| panic!("{refusal}")) {
        let fixture = case.app.strip_prefix("fixture:");
        let exists = fixture.map_or(APPS.contains(&case.app.as_str()), |what| FIXTURES.contains(&what));
        assert!(exists, "{}:{}: there is no app {}", case.file, case.line, case.app);
    }
}

/// What the flags of a case mean; they are those of the command line that are about proxies.
fn limits(flags: &str) -> Limits {
    // A head must be there within a deadline, and a refused body is read away for as long as a linger; in pieces of a few
    // bytes a busy machine needs long. No case is about a deadline.
    let patient = Duration::from_secs(120);
    let mut limits = Limits { head_timeout: patient, linger_timeout: patient, ..Limits::default() };
    let mut words = flags.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "--trusted-proxy" => {
                let list = words.next().expect("a list follows");
                list.split(',').for_each(|one| limits.proxies.trust(one.parse().expect("a proxy")));
            }
            "--proxy-protocol" => limits.proxies.speak_proxy_protocol = true,
            _ => panic!("no case has the flag {word}"),
        }
    }
    limits
}

/// The protocol alone: each segment is one receive, and nothing is left to chance.
struct InMemory;

impl FrontEnd for InMemory {
    fn name(&self) -> &str {
        "memory"
    }

    fn sees_idle(&self) -> bool {
        true
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let app = fixtures::make(exchange.app).expect("a case is for an app that exists");
        let mut memory = Memory::with(app, limits(exchange.flags));
        for segment in exchange.segments {
            memory.receive(segment);
        }
        if exchange.fin {
            memory.finish();
        }
        let end = match (memory.is_finished, memory.heard.faults.iter().any(|fault| fault.contains("stream ended"))) {
            (false, _) => End::Open,
            (true, false) => End::Closed,
            (true, true) => End::Aborted,
        };
        Outcome { bytes: memory.sent, end }
    }
}

#[test]
fn cases_in_memory() {
    check::run(2, || InMemory);
}

/// A whole worker on the simulated kernel, which hands over each segment when the one before has been received.
struct Simulated;

impl FrontEnd for Simulated {
    fn name(&self) -> &str {
        "sim"
    }

    fn sees_idle(&self) -> bool {
        true
    }

    fn split_count_max(&self) -> usize {
        40
    }

    fn exchange(&mut self, exchange: &Exchange<'_>) -> Outcome {
        let segments = exchange.segments.iter().map(|segment| segment.to_vec()).collect();
        let peer = SimPeer::stepwise(segments, exchange.fin);
        let waker = Waker::new().expect("an eventfd");
        let control = Arc::new(Control::new(waker.clone()));
        let mut sim = Sim::new(1, Odds::none(), vec![peer], Pool::new(0, 1000), waker);
        sim.hold_time();
        let settings = Settings {
            limits: limits(exchange.flags),
            listeners: vec![Origin { server_name: "h".into(), server_port: "80".into(), url_scheme: "http" }],
            own_listeners: vec![true],
            access_log: None,
            shows_request_ids: false,
            connection_count_max: 10,
            spool_dir: std::env::temp_dir(),
            stats: Row::default(),
            reserve: ringway::sys::Reserve::default(),
            graceful_timeout: Duration::from_secs(30),
        };
        let app = fixtures::make(exchange.app).expect("a case is for an app that exists");
        ringway::connection::quiet_panics();
        let mut worker = Worker::new(sim, app, settings, control.clone());
        worker.start();
        let mut quiet_count = 0;
        while quiet_count < 5 {
            worker.turn().expect("the simulated kernel stays usable");
            quiet_count = if worker.driver_mut().is_quiet() { quiet_count + 1 } else { 0 };
        }
        let peer = worker.driver_mut().peers()[0].clone();
        control.stop();
        while worker.turn().expect("the simulated kernel stays usable") {}
        assert_eq!(worker.driver_mut().pool().away_count(), 0, "every block comes home");
        let end = match peer.end() {
            sim::End::Open => End::Open,
            sim::End::Finished | sim::End::Closed => End::Closed,
            sim::End::Reset => End::Aborted,
        };
        Outcome { bytes: peer.received().to_vec(), end }
    }
}

#[test]
fn cases_in_simulation() {
    check::run(2, || Simulated);
}

/// Makes an application in each worker.
type Make = Box<dyn Fn() -> Box<dyn Application> + Send + Sync>;

/// Runs the cases on real sockets: a server for each application and its flags, all with the same driver.
fn run_on_sockets(io: Io, name: &str, make_of: impl Fn(&str) -> Option<Make>) {
    let cases = load_all().unwrap_or_else(|refusal| panic!("{refusal}"));
    let kinds: BTreeSet<(String, String)> = cases.into_iter().map(|case| (case.app, case.flags)).collect();
    let mut addresses = BTreeMap::new();
    let mut servers = Vec::new();
    for (app, flags) in kinds {
        let config = Config {
            binds: vec!["127.0.0.1:0".parse().expect("an address")],
            worker_count: 1,
            pin: Pin::Off,
            io,
            limits: limits(&flags),
            ..Config::default()
        };
        let Some(make) = make_of(&app) else { continue };
        let running = Server::new(config, make).start().unwrap_or_else(|error| panic!("{app}: {error}"));
        addresses.insert((app, flags), running.addresses()[0]);
        servers.push(running);
    }
    check::run(4, || {
        SocketFrontEnd::new(name, |app: &str, flags: &str| addresses.get(&(app.into(), flags.into())).copied())
    });
    for running in &servers {
        running.drain();
    }
    for running in servers {
        running.join().expect("a worker ends in order");
    }
}

/// The same application in a worker that is a task of an asynchronous runtime.
#[cfg(feature = "async")]
fn hosted(name: &str) -> Option<Make> {
    let name = name.to_string();
    Some(Box::new(move || Box::new(fixtures::Hosted(fixtures::make(&name).expect("a case is for an app that exists")))))
}

/// Their namesakes as services of the tower family.
#[cfg(feature = "async")]
fn in_tower(name: &str) -> Option<Make> {
    let name = name.to_string();
    async_support::namesakes::make(&name)?;
    Some(Box::new(move || async_support::namesakes::make(&name).expect("it was there before")))
}

#[cfg(feature = "async")]
#[test]
fn cases_in_tower_on_epoll() {
    run_on_sockets(Io::Epoll, "tower on epoll", in_tower);
}

#[cfg(feature = "async")]
#[test]
fn cases_in_tower_on_uring() {
    if let Err(refusal) = ringway::driver::uring::probe() {
        eprintln!("skipped: cases_in_tower_on_uring: {refusal}");
        return;
    }
    run_on_sockets(Io::Uring, "tower on io_uring", in_tower);
}

/// Their namesakes as routers of axum.
#[cfg(feature = "async")]
fn in_axum(name: &str) -> Option<Make> {
    let name = name.to_string();
    async_support::routers::make(&name)?;
    Some(Box::new(move || async_support::routers::make(&name).expect("it was there before")))
}

#[cfg(feature = "async")]
#[test]
fn cases_in_axum_on_epoll() {
    run_on_sockets(Io::Epoll, "axum on epoll", in_axum);
}

#[cfg(feature = "async")]
#[test]
fn cases_in_axum_on_uring() {
    if let Err(refusal) = ringway::driver::uring::probe() {
        eprintln!("skipped: cases_in_axum_on_uring: {refusal}");
        return;
    }
    run_on_sockets(Io::Uring, "axum on io_uring", in_axum);
}

#[cfg(feature = "async")]
#[test]
fn cases_hosted_on_epoll() {
    run_on_sockets(Io::Epoll, "hosted on epoll", hosted);
}

#[cfg(feature = "async")]
#[test]
fn cases_hosted_on_uring() {
    if let Err(refusal) = ringway::driver::uring::probe() {
        eprintln!("skipped: cases_hosted_on_uring: {refusal}");
        return;
    }
    run_on_sockets(Io::Uring, "hosted on io_uring", hosted);
}

fn native(name: &str) -> Option<Make> {
    let name = name.to_string();
    Some(Box::new(move || fixtures::make(&name).expect("a case is for an app that exists")))
}

/// Their namesakes in Python, with the raw head laid over the environ, which Python has no other way to.
#[cfg(feature = "wsgi")]
fn in_python(name: &str) -> Option<Make> {
    use ringway::wsgi::{Concurrency, interpreter, load};
    let callable = match name {
        "hello:app" => "hello",
        "hello:json" => "json",
        "echo:app" => "echo",
        "environ:app" => "environ",
        // Nothing is admitted in Python, and a wrong length is cut or closes the connection.
        "fixture:early" | "fixture:badcl" => return None,
        fixture => fixture.strip_prefix("fixture:")?,
    };
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wsgi");
    interpreter::start().expect("Python starts");
    interpreter::extend_path(&[tests.into()]).expect("its path can be extended");
    let callable = load(&format!("wire_apps:{callable}")).expect("the applications can be imported");
    Some(Box::new(move || Box::new(python::WithHead(callable.application(Concurrency::default())))))
}

#[cfg(feature = "wsgi")]
#[test]
fn cases_in_python() {
    run_on_sockets(Io::Auto, "python", in_python);
}

#[test]
fn cases_on_epoll() {
    run_on_sockets(Io::Epoll, "epoll", native);
}

#[test]
fn cases_on_uring() {
    if let Err(refusal) = ringway::driver::uring::probe() {
        eprintln!("skipped: cases_on_uring: {refusal}");
        return;
    }
    run_on_sockets(Io::Uring, "io_uring", native);
}

/// `docs/HTTP.md` lists every row with the cases that hold it. `RINGWAY_BLESS=1 cargo test --test wire documented`
/// writes it anew.
#[test]
fn rules_are_documented_with_their_cases() {
    let cases = load_all().unwrap_or_else(|refusal| panic!("{refusal}"));
    let mut rows: BTreeMap<u8, (Vec<String>, BTreeMap<String, usize>)> = BTreeMap::new();
    for case in &cases {
        for row in &case.rows {
            let (titles, files) = rows.entry(*row).or_default();
            if !case.title.is_empty() && !titles.contains(&case.title) {
                titles.push(case.title.clone());
            }
            *files.entry(case.file.clone()).or_default() += 1;
        }
    }
    let mut text = String::from(DOCUMENT_HEAD);
    for (row, (titles, files)) in rows {
        let files: Vec<String> = files.into_iter().map(|(file, count)| format!("{file} ({count})")).collect();
        let title = titles.join("; ").replace('|', "\\|");
        text.push_str(&format!("| {row} | {title} | {} |\n", files.join(", ")));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/HTTP.md");
    if std::env::var_os("RINGWAY_BLESS").is_some() {
        std::fs::write(path, &text).expect("the document can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == text, "docs/HTTP.md is not what the cases say; write it anew with RINGWAY_BLESS=1");
}

const DOCUMENT_HEAD: &str = "\
# HTTP/1.1: the rules and what holds them

Each row is a rule of RFC 9112 or RFC 9110 and what this server does about it; the last column names the case files
below `tests/wire/` with the number of cases. Every case is run whole, byte by byte, cut at every place, twice back to
back and with more behind it, through memory, a simulated kernel, epoll and io_uring. No option loosens framing.

Two deviations are deliberate. Empty elements in `Transfer-Encoding` are refused, though RFC 9110 \u{a7}5.6.1 lets them
pass: they are a known way to make two servers disagree. `HTTP/1.2` to `HTTP/1.9` get 505, though RFC 9110 \u{a7}2.5
would have them treated as 1.1: no client sends them.

Rows 76 to 83 are about proxies that `--trusted-proxy` and `--proxy-protocol` name; [OPERATE.md](OPERATE.md) tells how to
set them up.

| row | rule | cases |
|---|---|---|
";
