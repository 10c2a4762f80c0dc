//! The wire cases (`tests/wire/*.http`) on every front end.
//!
//! A front end is one `impl FrontEnd` and one test that calls `check::run`. What the cases look like is in
//! `tests/wire/README.md`; how one is run in five ways is in `tests/wire_support/check.rs`.

pub mod support;
pub mod wire_support;

#[path = "wire_support/proof.rs"]
mod proof;

use std::collections::BTreeMap;

use support::fixtures;
use support::memory::Memory;
use wire_support::case::load_all;
use wire_support::check;
use wire_support::front_end::{End, Exchange, FrontEnd, Outcome};

/// The rows of HTTP_RULES.md that the wire can show.
const ROWS: std::ops::RangeInclusive<u8> = 1..=75;

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
        let mut memory = Memory::new(fixtures::make(exchange.app).expect("a case is for an app that exists"));
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
