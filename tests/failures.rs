//! The n-th failure: each script is played once without a fault, then once for each row of the fault table and each
//! occasion that the row had, with the fault striking just there. Every run must come to a right end.

mod script_support;
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringway::driver::sim::{Fault, TABLE};

use script_support::script::{End, Reader, Same, Script, statuses, without_begun_connection, without_connection};
use script_support::scripts;
use script_support::simulated::{Run, play};

/// A script, and what came of it without a fault.
struct Known {
    script: Script,
    run: Run,
    /// What its peers would have got if each had taken all, and nothing had been short.
    whole: Run,
}

fn known(script: Script) -> Known {
    let run = play(&script, None);
    for (index, (talk, (bytes, end))) in script.talks.iter().zip(&run.played.talks).enumerate() {
        let name = format!("{}, peer {index}", script.name);
        let answers = statuses(bytes);
        let is_right = answers == talk.answers || (is_short(&script) && answers == "503");
        assert!(is_right, "{name}: the answers are {answers}");
        assert_eq!(*end, talk.end, "{name}");
    }
    let mut taking = script.clone().blocks(1000);
    for talk in taking.talks.iter_mut().filter(|talk| talk.reader == Reader::Stuck) {
        talk.reader = Reader::Fast;
    }
    let whole = play(&taking, None);
    Known { script, run, whole }
}

/// A spared peer gets what it always gets; one whose connection the fault has cost gets a beginning of it.
fn judge(known: &Known, run: &Run, name: &str) {
    let Known { script, run: before, whole } = known;
    for index in 0..script.talks.len() {
        let ((is, is_end), (was, was_end)) = (&run.played.talks[index], &before.played.talks[index]);
        let (all, _) = &whole.played.talks[index];
        let is_beginning = match script.same {
            Same::All => all.starts_with(is) || (run.is_hurt[index] && spools(script) && is_refused(all, is)),
            Same::Beginning | Same::Simulated => {
                let (all, is) = (without_connection(all), without_begun_connection(is));
                all.starts_with(&is) || (is_short(script) && is_refused(&all, &is))
            }
        };
        assert!(is_beginning, "{name}, peer {index}: wrong bytes: {}", String::from_utf8_lossy(is));
        if script.same == Same::All && !run.is_hurt[index] {
            assert!(is == was, "{name}, peer {index}: {} of {} bytes came", is.len(), was.len());
            assert!(is_end == was_end, "{name}, peer {index}: the end is {is_end:?}");
        }
    }
}

fn is_short(script: &Script) -> bool {
    script.room.block_count_max < 50
}

/// Whether a body may have to be stored, which may fail: then it is refused.
fn spools(script: &Script) -> bool {
    script.room.limits.body_memory < 1 << 20
}

/// Whether it is a beginning with a refusal behind, or some of one.
fn is_refused(all: &[u8], is: &[u8]) -> bool {
    let size = is.iter().zip(all).take_while(|(one, other)| one == other).count();
    let refusal = b"HTTP/1.1 503 Service Unavailable\r\n";
    (0..=size).any(|from| is[from..].starts_with(refusal) || refusal.starts_with(&is[from..]))
}

#[test]
fn the_nth_failure_comes_to_a_right_end() {
    let scripts = scripts::all();
    assert!(scripts.len() >= 30, "there are only {} scripts", scripts.len());
    let count = scripts.len();
    let scripts = Mutex::new(scripts);
    let run_count = AtomicUsize::new(0);
    let struck: Vec<AtomicUsize> = TABLE.iter().map(|_| AtomicUsize::new(0)).collect();
    let work = || {
        loop {
            let script = scripts.lock().ok().and_then(|mut scripts| scripts.pop());
            let Some(script) = script else { return };
            let known = known(script);
            run_count.fetch_add(1, Ordering::Relaxed);
            for row in TABLE {
                for number in 1..=known.run.faults.occasions_of(row.fault) {
                    fail_once(&known, row.fault, number);
                    run_count.fetch_add(1, Ordering::Relaxed);
                    struck[row.fault as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let thread_count = std::thread::available_parallelism().map_or(1, usize::from);
        let threads: Vec<_> = (0..thread_count).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    println!("{count} scripts, {} runs", run_count.into_inner());
    for (row, struck) in TABLE.iter().zip(struck) {
        let struck = struck.into_inner();
        println!("{:?}: {struck}", row.fault);
        assert!(struck > 0 || row.odds.is_empty(), "{:?} has no occasion in any script", row.fault);
    }
}

fn fail_once(known: &Known, fault: Fault, number: u64) {
    let name = format!("{}, {fault:?} at its occasion {number}", known.script.name);
    let run = play(&known.script, Some((fault, number)));
    assert_eq!(run.faults.of(fault), known.run.faults.of(fault) + 1, "{name}: it strikes once");
    judge(known, &run, &name);
}

#[test]
fn scripts_have_names_of_their_own() {
    let mut names: Vec<String> = scripts::all().into_iter().map(|script| script.name).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn drawn_scripts_are_the_same_on_a_kernel_without_a_fault() {
    for seed in 0..100 {
        let script = scripts::drawn(seed);
        let run = play(&script, None);
        for (index, (bytes, end)) in run.played.talks.iter().enumerate() {
            assert!(!bytes.is_empty() && *end == End::Closed, "{}, peer {index}: {end:?}", script.name);
        }
    }
}
