//! A constant-rate HTTP/1.1 client on one thread that omits nothing:
//! `open-loop http://127.0.0.1:PORT/PATH --rate R --connections C --seconds S [--warmup S]`.
//!
//! Requests are due on a fixed schedule, whatever the server does, and connections take turns. A request whose
//! connection is still busy waits for it, and its latency counts from the time it was due. The last line on
//! stdout is one JSON object: latencies in microseconds, how late the generator itself was (`late_us_p99`: from
//! the due time to the moment it acted on it), and how many requests were sent, completed, or came to nothing.
//! It waits by spinning where the next request is near, so that it wants a core of its own.

mod client;

use client::{Client, Outcome};
use ringway_peers::schedule::Schedule;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: open-loop http://127.0.0.1:PORT/PATH --rate R --connections C --seconds S [--warmup S]";

/// Requests that one run may record, which bounds its memory to a few gigabytes.
const REQUEST_COUNT_MAX: f64 = 1e8;

struct Arguments {
    address: SocketAddr,
    path: String,
    schedule: Schedule,
}

fn main() -> ExitCode {
    let Some(Arguments { address, path, schedule }) = Arguments::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    match Client::connect(address, request, &schedule).and_then(Client::run) {
        Ok(outcome) => {
            println!("{}", report(&schedule, outcome));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("open-loop: {address}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(schedule: &Schedule, outcome: Outcome) -> String {
    let (latencies, late) = (outcome.latencies.sorted(), outcome.late.sorted());
    let [p50, p90, p99, p999, max] = [500, 900, 990, 999, 1000].map(|per_mille| latencies.percentile_us(per_mille));
    format!(
        "{{\"rate\": {}, \"connections\": {}, \"seconds\": {}, \"sent\": {}, \"completed\": {}, \"errors\": {}, \
         \"late_us_p99\": {:.1}, \"p50_us\": {p50:.1}, \"p90_us\": {p90:.1}, \"p99_us\": {p99:.1}, \
         \"p999_us\": {p999:.1}, \"max_us\": {max:.1}}}",
        schedule.rate,
        schedule.connection_count,
        schedule.window.as_secs_f64(),
        outcome.sent_count,
        latencies.count(),
        outcome.error_count,
        late.percentile_us(990),
    )
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
        let url = words.next()?;
        let rest = url.strip_prefix("http://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (mut rate, mut connection_count, mut window, mut warmup) = (None, None, None, Duration::ZERO);
        while let Some(flag) = words.next() {
            let value = words.next()?;
            match flag.as_str() {
                "--rate" => rate = value.parse().ok().filter(|rate| *rate > 0),
                "--connections" => connection_count = value.parse().ok().filter(|count| *count > 0),
                "--seconds" => window = Some(seconds(&value)?).filter(|window| !window.is_zero()),
                "--warmup" => warmup = seconds(&value)?,
                _ => return None,
            }
        }
        let (rate, window) = (rate?, window?);
        if rate as f64 * (warmup + window).as_secs_f64() > REQUEST_COUNT_MAX {
            return None;
        }
        Some(Arguments {
            address: authority.parse().ok()?,
            path: if path.is_empty() { String::from("/") } else { path.to_owned() },
            schedule: Schedule { rate, connection_count: connection_count?, warmup, window },
        })
    }
}

/// A number of seconds, with or without a fraction, of at most a day.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    (seconds <= Duration::from_secs(86_400)).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Arguments> {
        Arguments::parse(line.split_whitespace().map(String::from))
    }

    #[test]
    fn takes_a_url_and_its_numbers() {
        let arguments = parse("http://127.0.0.1:80/a --rate 9 --connections 2 --seconds 1.5 --warmup 1").unwrap();
        assert_eq!((arguments.address.port(), arguments.path.as_str()), (80, "/a"));
        let schedule = arguments.schedule;
        assert_eq!((schedule.rate, schedule.connection_count), (9, 2));
        assert_eq!((schedule.window.as_millis(), schedule.warmup.as_millis()), (1500, 1000));
        assert_eq!(parse("http://127.0.0.1:80 --rate 9 --connections 2 --seconds 1").unwrap().path, "/");
    }

    #[test]
    fn refuses_what_makes_no_schedule() {
        for wrong in [
            "",
            "http://localhost/ --rate 1 --connections 1 --seconds 1",
            "http://127.0.0.1:80/ --rate 0 --connections 1 --seconds 1",
            "http://127.0.0.1:80/ --rate 1 --connections 0 --seconds 1",
            "http://127.0.0.1:80/ --rate 1 --connections 1 --seconds 0",
            "http://127.0.0.1:80/ --rate 1 --connections 1 --seconds -1",
            "http://127.0.0.1:80/ --rate 1 --connections 1",
            "http://127.0.0.1:80/ --rate 1 --connections 1 --seconds 1 --warmup",
            "http://127.0.0.1:80/ --rate 1000000 --connections 1 --seconds 1000",
        ] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
