//! What `/metrics` says: the sums over all workers, and a few numbers of each.
//!
//! docs/OPERATE.md has the same list, with what to make of it.

use std::fmt::{self, Display};
use std::time::{Duration, UNIX_EPOCH};

use crate::stats::{Board, Counts, Limit, Phase, Sink, State, bound};

use super::exposition::{Exposition, Kind};

/// Seconds, to the nanosecond and no further, as a float would not say them.
struct Seconds(u64);

/// The whole text.
pub(super) fn text(board: &Board) -> String {
    let mut exposition = Exposition::default();
    let counts = board.counts();
    put_server(&mut exposition, board);
    put_connections(&mut exposition, &counts);
    put_requests(&mut exposition, &counts);
    put_troubles(&mut exposition, &counts);
    put_workers(&mut exposition, board);
    exposition.into_text()
}

fn put_server(exposition: &mut Exposition, board: &Board) {
    let io = board.rows().iter().find_map(|row| row.worker()).map_or("none", |worker| worker.driver.name());
    exposition
        .family("ringway_build_info", Kind::Gauge, "The server's version, and the driver that its workers use.")
        .sample(&[("version", &env!("CARGO_PKG_VERSION")), ("io", &io)], 1);
    let started_at = board.started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    exposition
        .family("ringway_start_time_seconds", Kind::Gauge, "When the server started, in seconds since 1970.")
        .value(Seconds::of(started_at));
    let mut phases = exposition.family("ringway_phase", Kind::Gauge, "1 for the phase that the server is in.");
    for phase in Phase::ALL {
        phases.sample(&[("phase", &phase.name())], u8::from(board.phase() == *phase));
    }
    exposition
        .family("ringway_generation", Kind::Gauge, "How often the workers have been replaced by others.")
        .value(board.generation());
    exposition.family("ringway_workers", Kind::Gauge, "Workers that serve.").value(board.serving_count());
    exposition
        .family("ringway_workers_wanted", Kind::Gauge, "Workers that there are to be.")
        .value(board.worker_count());
}

fn put_connections(exposition: &mut Exposition, counts: &Counts) {
    let mut states = exposition.family("ringway_connections", Kind::Gauge, "Open connections, by what they are about.");
    for (state, count) in State::ALL.iter().zip(counts.states) {
        states.sample(&[("state", &state.name())], count);
    }
    exposition
        .family("ringway_connections_accepted_total", Kind::Counter, "Connections that were opened.")
        .value(counts.accepted);
    exposition
        .family("ringway_connections_closed_total", Kind::Counter, "Connections that were closed, by whichever side.")
        .value(counts.closed);
    exposition
        .family("ringway_received_bytes_total", Kind::Counter, "Bytes received from peers, heads and framing included.")
        .value(counts.received);
    exposition
        .family("ringway_sent_bytes_total", Kind::Counter, "Bytes sent to peers, heads and framing included.")
        .value(counts.sent);
}

fn put_requests(exposition: &mut Exposition, counts: &Counts) {
    let help = "Complete responses by the class of their status, the server's own refusals included.";
    let mut requests = exposition.family("ringway_requests_total", Kind::Counter, help);
    for (class, count) in (1..).zip(counts.responses) {
        requests.sample(&[("class", &format_args!("{class}xx"))], count);
    }
    let help = "From the first byte of a request that an application has answered to the end of the turn in which its \
                response was complete.";
    let mut durations = exposition.family("ringway_request_duration_seconds", Kind::Histogram, help);
    let mut below = 0u64;
    for (bucket, count) in counts.buckets.iter().enumerate() {
        below = below.wrapping_add(*count);
        match bound(bucket) {
            Some(bound) => durations.suffixed("_bucket", &[("le", &Seconds::of(bound))], below),
            None => durations.suffixed("_bucket", &[("le", &"+Inf")], below),
        }
    }
    durations.suffixed("_sum", &[], Seconds(counts.duration_sum));
    durations.suffixed("_count", &[], below);
}

fn put_troubles(exposition: &mut Exposition, counts: &Counts) {
    let mut limits = exposition.family("ringway_limit_total", Kind::Counter, "How often a limit or deadline was met.");
    for limit in Limit::ALL {
        limits.sample(&[("limit", &limit.name())], counts.of(*limit));
    }
    exposition
        .family("ringway_starved_receives_total", Kind::Counter, "Receives that found no block posted; none is lost.")
        .value(counts.starved);
    exposition
        .family("ringway_spooled_bodies_total", Kind::Counter, "Request bodies that were spooled to a file.")
        .value(counts.of(Limit::BodyMemory));
    let help = "Errors, panics and broken rules of applications.";
    exposition.family("ringway_application_faults_total", Kind::Counter, help).value(counts.faults);
    let help = "Lines that were dropped because nobody took them.";
    let mut dropped = exposition.family("ringway_dropped_lines_total", Kind::Counter, help);
    for (sink, count) in Sink::ALL.iter().zip(counts.dropped) {
        dropped.sample(&[("log", &sink.name())], count);
    }
}

/// A row that no worker has ever had says nothing.
fn put_workers(exposition: &mut Exposition, board: &Board) {
    let rows = || board.rows().iter().enumerate().filter(|(_, row)| row.has_begun());
    let mut up = exposition.family("ringway_worker_up", Kind::Gauge, "1 while the worker serves.");
    for (index, row) in rows() {
        up.sample(&[("worker", &index)], u8::from(row.worker().is_some()));
    }
    let help = "When the worker began, in seconds since 1970.";
    let mut began = exposition.family("ringway_worker_start_time_seconds", Kind::Gauge, help);
    for (index, worker) in rows().filter_map(|(index, row)| Some((index, row.worker()?))) {
        began.sample(&[("worker", &index)], Seconds::of(Duration::from_millis(worker.began_at)));
    }
    let help = "Complete responses of the worker.";
    let mut requests = exposition.family("ringway_worker_requests_total", Kind::Counter, help);
    for (index, row) in rows() {
        requests.sample(&[("worker", &index)], row.counts().response_count());
    }
    let mut open = exposition.family("ringway_worker_connections", Kind::Gauge, "Open connections of the worker.");
    for (index, row) in rows() {
        open.sample(&[("worker", &index)], row.counts().open_count());
    }
}

impl Seconds {
    fn of(duration: Duration) -> Seconds {
        Seconds(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_said_to_the_nanosecond() {
        for (nanos, said) in
            [(0, "0"), (1, "0.000000001"), (65_536, "0.000065536"), (1_500_000_000, "1.5"), (7_000_000_000, "7")]
        {
            assert_eq!(Seconds(nanos).to_string(), said);
        }
    }

    #[test]
    fn a_row_that_nobody_has_had_says_nothing() {
        let board = Board::private(3).expect("there is memory");
        assert!(!text(&board).contains("worker=\""));
        board.row(1).begin(crate::stats::DriverKind::Epoll, UNIX_EPOCH + Duration::from_millis(1500));
        board.row(1).note_response(404);
        let serving = text(&board);
        assert!(serving.contains("\nringway_worker_start_time_seconds{worker=\"1\"} 1.5\n"), "{serving}");
        assert!(serving.contains("io=\"epoll\""), "{serving}");
        board.release(1);
        let ended = text(&board);
        assert!(ended.contains("\nringway_worker_up{worker=\"1\"} 0\n"), "{ended}");
        assert!(ended.contains("\nringway_worker_requests_total{worker=\"1\"} 1\n"), "its counts stay: {ended}");
        assert!(!ended.contains("worker_start_time_seconds{"), "{ended}");
    }
}
