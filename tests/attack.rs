//! The real server under attack, on both drivers: what an honest client saw meanwhile, and that descriptors and
//! memory come home. `cargo test --test attack -- --nocapture` prints the figures; with RINGWAY_LONG=1 (that is
//! `scripts/test --long`) the waits are those of the promise and not the short ones of the gate.
//!
//! The built binary runs as a child with one worker, so that attackers and honest meet in it. With ATTACKED=wsgi its
//! applications are in Python; with ATTACKED=axum the child is this program itself, which serves a router. Nothing here
//! sleeps to let something happen: it is waited for, with a bound.

#[path = "attack/floods.rs"]
mod floods;
#[path = "attack/full.rs"]
mod full;
#[path = "attack/idle.rs"]
mod idle;
#[path = "attack/manners.rs"]
mod manners;
#[path = "attack/slow.rs"]
mod slow;

#[cfg(feature = "async")]
pub mod async_support;
mod attack_support;

use std::sync::{Mutex, PoisonError};

use ringway::driver::uring;
use ringway::sys::process::{self, Resource};

/// That of the binary, as this program is a server too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tests measure, so they do not run beside each other.
static ALONE: Mutex<()> = Mutex::new(());

fn run(name: &str, io: &str, attack: fn(&str)) {
    if io == "uring"
        && let Err(refusal) = uring::probe()
    {
        return eprintln!("skipped: {name}: {refusal}");
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What it cannot be raised to is asked for where it matters.
    let _ = process::raise_limit(Resource::Descriptors);
    attack(io);
}

macro_rules! on_both {
    ($($attack:path: $uring:ident, $epoll:ident;)*) => {$(
        #[test]
        fn $uring() {
            run(stringify!($uring), "uring", $attack);
        }

        #[test]
        fn $epoll() {
            run(stringify!($epoll), "epoll", $attack);
        }
    )*};
}

on_both! {
    slow::heads_and_bodies: slow_heads_and_bodies_on_uring, slow_heads_and_bodies_on_epoll;
    slow::silence: silence_on_uring, silence_on_epoll;
    slow::readers: readers_that_read_nothing_on_uring, readers_that_read_nothing_on_epoll;
    floods::pipelining: a_pipeline_that_is_read_late_on_uring, a_pipeline_that_is_read_late_on_epoll;
    floods::pipelines: pipelines_that_nobody_reads_on_uring, pipelines_that_nobody_reads_on_epoll;
    floods::heads: heads_without_end_on_uring, heads_without_end_on_epoll;
    floods::held_heads: heads_that_hold_a_block_each_on_uring, heads_that_hold_a_block_each_on_epoll;
    floods::bodies: bodies_that_are_only_declared_on_uring, bodies_that_are_only_declared_on_epoll;
    floods::chunks: chunks_of_one_byte_on_uring, chunks_of_one_byte_on_epoll;
    full::connections: more_connections_than_slots_on_uring, more_connections_than_slots_on_epoll;
    full::descriptors: no_descriptor_left_on_uring, no_descriptor_left_on_epoll;
    idle::ten_thousand: ten_thousand_idle_on_uring, ten_thousand_idle_on_epoll;
    manners::resets: resets_at_random_points_on_uring, resets_at_random_points_on_epoll;
    manners::half_closes: half_closes_on_uring, half_closes_on_epoll;
    manners::garbage: garbage_on_uring, garbage_on_epoll;
}

/// What ATTACKED=axum attacks is this test in a process of its own. Here it is asked for an answer.
#[cfg(feature = "async")]
#[test]
fn axum_server() {
    attack_support::attacked::serve_if_asked();
    run("axum_server", "epoll", |io| {
        let server = attack_support::server::Server::start_one(attack_support::Attacked::Axum, io, &[]);
        assert!(attack_support::honest::Honest::start(server.address).end() > 0);
        server.end();
    });
}
