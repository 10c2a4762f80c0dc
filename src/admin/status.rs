//! What `/status.json` says: all numbers at a moment, for the page and for scripts.
//!
//! Times are milliseconds since 1970. Who wants a rate asks twice.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::stats::{Board, Counts, Limit, Sink, State, Stats, bound};

/// The whole text. Every string in it is a name of ours, in which nothing needs an escape.
pub(super) fn json(board: &Board, now: SystemTime) -> String {
    let counts = board.counts();
    let mut text = String::from("{");
    // Writing to a string does not fail, here and below.
    let _ = write!(
        text,
        "\"version\":\"{}\",\"phase\":\"{}\",\"pid\":{},\"now\":{},\"started_at\":{},\"generation\":{},\
         \"workers_wanted\":{},",
        env!("CARGO_PKG_VERSION"),
        board.phase().name(),
        board.supervisor(),
        millis(now),
        millis(board.started_at()),
        board.generation(),
        board.worker_count(),
    );
    put_counts(&mut text, &counts);
    text.push_str(",\"duration\":{\"bounds_ns\":");
    put_list(&mut text, (0..).map_while(bound).map(|bound| bound.as_nanos()));
    text.push_str(",\"buckets\":");
    put_list(&mut text, counts.buckets);
    let _ = write!(text, ",\"sum_ns\":{}}},\"limits\":", counts.duration_sum);
    put_map(&mut text, Limit::ALL.iter().map(|limit| (limit.name(), counts.of(*limit))));
    let _ = write!(text, ",\"starved\":{},\"faults\":{},\"dropped_lines\":", counts.starved, counts.faults);
    put_map(&mut text, Sink::ALL.iter().map(|sink| sink.name()).zip(counts.dropped));
    text.push_str(",\"workers\":[");
    let mut separator = "";
    for (index, row) in board.rows().iter().enumerate().filter(|(_, row)| row.has_begun()) {
        text.push_str(separator);
        put_worker(&mut text, index, row);
        separator = ",";
    }
    text.push_str("]}\n");
    text
}

fn put_worker(text: &mut String, index: usize, row: &Stats) {
    let _ = write!(text, "{{\"worker\":{index},");
    let _ = match row.worker() {
        Some(worker) => write!(
            text,
            "\"up\":true,\"pid\":{},\"io\":\"{}\",\"began_at\":{},",
            worker.pid,
            worker.driver.name(),
            worker.began_at
        ),
        None => write!(text, "\"up\":false,"),
    };
    put_counts(text, &row.counts());
    text.push('}');
}

/// What is said of the whole and of each worker.
fn put_counts(text: &mut String, counts: &Counts) {
    text.push_str("\"requests\":");
    put_map(text, ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(counts.responses));
    text.push_str(",\"connections\":");
    put_map(text, State::ALL.iter().map(|state| state.name()).zip(counts.states));
    let Counts { accepted, closed, received, sent, .. } = counts;
    let _ = write!(
        text,
        ",\"accepted\":{accepted},\"closed\":{closed},\"received_bytes\":{received},\"sent_bytes\":{sent}"
    );
}

fn put_map(text: &mut String, entries: impl IntoIterator<Item = (&'static str, u64)>) {
    let mut before = '{';
    for (name, count) in entries {
        let _ = write!(text, "{before}\"{name}\":{count}");
        before = ',';
    }
    text.push('}');
}

fn put_list(text: &mut String, numbers: impl IntoIterator<Item = impl std::fmt::Display>) {
    let mut before = '[';
    for number in numbers {
        let _ = write!(text, "{before}{number}");
        before = ',';
    }
    text.push(']');
}

fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis())
}
