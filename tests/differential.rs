//! One worker, three kernels: the same script through the simulation, epoll and io_uring gives the same bytes and
//! the same end of every connection. The scripts are those of `tests/failures.rs` and others drawn from seeds:
//! `RINGWAY_DIFF_SEEDS` is their number (50), `RINGWAY_DIFF_SEED` replays one.

mod script_support;
mod support;

use std::ops::Range;
use std::sync::Mutex;

use ringway::config::Io;

use script_support::script::{Played, Same, Script, statuses};
use script_support::{scripts, simulated, sockets};

/// Plays every script on the simulation and on one real driver, and compares.
fn compare(name: &str, io: Io, scripts: Vec<Script>) {
    if let (Io::Uring, Err(refusal)) = (io, ringway::driver::uring::probe()) {
        eprintln!("skipped: {name}: {refusal}");
        return;
    }
    let count = scripts.len();
    let scripts = Mutex::new(scripts);
    let differences = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREAD_COUNT {
            scope.spawn(|| {
                loop {
                    let script = scripts.lock().ok().and_then(|mut scripts| scripts.pop());
                    let Some(script) = script else { return };
                    let (simulated, real) = (simulated::play(&script, None).played, sockets::play(&script, io));
                    if let Some(difference) = difference(&script, &simulated, &real)
                        && let Ok(mut differences) = differences.lock()
                    {
                        differences.push(difference);
                    }
                }
            });
        }
    });
    let differences = differences.into_inner().unwrap_or_default();
    println!("{count} scripts on {io:?} and the simulation, {} differ", differences.len());
    assert!(differences.is_empty(), "on {io:?}:\n{}", differences.join("\n"));
}

fn difference(script: &Script, simulated: &Played, real: &Played) -> Option<String> {
    if simulated == real {
        return None;
    }
    let mut lines = vec![format!("{}: cut {} and {}", script.name, simulated.cut_count, real.cut_count)];
    for (index, ((one, one_end), (other, other_end))) in simulated.talks.iter().zip(&real.talks).enumerate() {
        if one == other && one_end == other_end {
            continue;
        }
        let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        let (sizes, states) = ((one.len(), other.len()), (statuses(one), statuses(other)));
        lines.push(format!(
            "  peer {index}: {one_end:?} and {other_end:?}, {states:?}, {sizes:?} bytes, same up to {at}"
        ));
        for bytes in [one, other] {
            let around = &bytes[at.saturating_sub(60)..(at + 60).min(bytes.len())];
            lines.push(format!("    {:?}", String::from_utf8_lossy(around)));
        }
    }
    Some(lines.join("\n"))
}

fn named() -> Vec<Script> {
    let scripts: Vec<Script> = scripts::all().into_iter().filter(|script| script.same != Same::Simulated).collect();
    assert!(scripts.len() >= 30, "there are only {} scripts", scripts.len());
    scripts
}

fn drawn() -> Vec<Script> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let seeds: Range<u64> = match number("RINGWAY_DIFF_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGWAY_DIFF_SEEDS").unwrap_or(50),
    };
    seeds.map(scripts::drawn).collect()
}

#[test]
fn scripts_on_epoll() {
    compare("scripts_on_epoll", Io::Epoll, named());
}

#[test]
fn scripts_on_uring() {
    compare("scripts_on_uring", Io::Uring, named());
}

#[test]
fn drawn_scripts_on_epoll() {
    compare("drawn_scripts_on_epoll", Io::Epoll, drawn());
}

#[test]
fn drawn_scripts_on_uring() {
    compare("drawn_scripts_on_uring", Io::Uring, drawn());
}

/// Servers at a time. Most of them wait for a peer or a deadline.
const THREAD_COUNT: usize = 6;
