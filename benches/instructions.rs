//! The work of one receive, to be counted and not timed: `scripts/instructions` runs this under callgrind with two
//! numbers of receives and divides the difference, so that start and end cancel out.
//!
//! Without arguments each case runs a few times and asserts its output, as `cargo test --benches` does. `cases` prints
//! the names of the cases.

use std::hint::black_box;

mod rig;

use rig::{CASES, Case, Rig};

fn run(case: &Case, count: usize) {
    let mut rig = Rig::new(case);
    for _ in 0..count {
        black_box(&mut rig).serve();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["cases"] => CASES.iter().for_each(|case| println!("{}", case.name)),
        [name, count] => {
            let case = CASES.iter().find(|case| case.name == *name).expect("one of the cases");
            run(case, count.parse().expect("a number of receives"));
        }
        [] => CASES.iter().for_each(|case| run(case, 10)),
        _ => panic!("usage: instructions [cases | CASE COUNT]"),
    }
}
