//! The same application on this server and on its framework's own, asked the same requests: the answers are the same, byte
//! for byte.
#![allow(dead_code, reason = "the programs' own entries are not called here")]
#![allow(clippy::duplicate_mod, reason = "each program has the application for itself, as on its own")]

mod cases;
mod support;

#[path = "../axum/alone.rs"]
mod axum_alone;
#[path = "../axum/main.rs"]
mod axum_hosted;
#[path = "../hyper/alone.rs"]
mod hyper_alone;
#[path = "../hyper/main.rs"]
mod hyper_hosted;
#[path = "../poem/alone.rs"]
mod poem_alone;
#[path = "../poem/main.rs"]
mod poem_hosted;
#[path = "../salvo/alone.rs"]
mod salvo_alone;
#[path = "../salvo/main.rs"]
mod salvo_hosted;
#[path = "../warp/alone.rs"]
mod warp_alone;
#[path = "../warp/main.rs"]
mod warp_hosted;

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use ringway::Application;

use cases::{Case, cases};
use support::client::{Answer, Client};
use support::{Own, on_ringway};

/// Its name, and its place in the statuses of a case.
type Framework = (&'static str, usize);

fn compare<F>(
    framework: Framework,
    make: impl Fn() -> Box<dyn Application> + Clone + Send + Sync + 'static,
    serve: impl Fn(tokio::net::TcpListener) -> F + Copy + Send + 'static,
) where
    F: Future<Output = io::Result<()>>,
{
    let (name, index) = framework;
    on_ringway(name, make, |address, io| {
        let own = Own::start(serve);
        let mut faults = Vec::new();
        for case in cases().iter().filter(|case| case.statuses[index] > 0) {
            let differences = differences(case, framework, own.address, address);
            faults.extend(differences.into_iter().map(|difference| format!("{}: {difference}", case.name)));
        }
        assert!(faults.is_empty(), "{name} on {io:?}:\n{}", faults.join("\n"));
    });
}

/// Asks both, and says what is not the same.
fn differences(case: &Case, (_, index): Framework, own: SocketAddr, ringway: SocketAddr) -> Vec<String> {
    let [expected, found] = [own, ringway].map(|address| Client::connect(address).play(&case.steps, &case.methods));
    let mut differences = Vec::new();
    for (expected, found) in expected.iter().zip(&found) {
        let [left, right] = [expected, found].map(|answer| (answer.status, &answer.reason));
        if left.0 != right.0 || left != right && !case.differs.iter().any(|(what, _)| *what == "reason") {
            differences.push(format!("status {left:?} {right:?}"));
        }
        if expected.interim != found.interim {
            differences.push(format!("before it {:?} {:?}", expected.interim, found.interim));
        }
        let [left, right] = [expected, found].map(|answer| compared(answer, case));
        if left != right {
            differences.push(format!("fields {left:?} {right:?}"));
        }
        if expected.body != found.body {
            differences.push(format!("body {:?} {:?}", shown(expected), shown(found)));
        }
    }
    let last = found.last().expect("each case has an answer");
    if last.status != case.statuses[index] {
        differences.push(format!("status {} is not {}: {:?}", last.status, case.statuses[index], shown(last)));
    }
    if let (0, Some((name, value))) = (index, case.field)
        && last.field(name).as_deref() != Some(value)
    {
        differences.push(format!("{name} {:?} is not {value}", last.field(name)));
    }
    differences
}

/// The fields that must be the same: all but those of the moment, of the server and of the connection, and what the case
/// excepts. Their order is free, but not that of several with one name.
fn compared<'a>(answer: &'a Answer, case: &Case) -> Vec<(&'a str, &'a str)> {
    let is_free = |name: &str| FREE.contains(&name) || case.differs.iter().any(|(differs, _)| *differs == name);
    let fields = answer.fields.iter().map(|(name, value)| (&name[..], &value[..]));
    let mut fields: Vec<_> = fields.filter(|(name, _)| !is_free(name)).collect();
    fields.sort_by_key(|(name, _)| *name);
    fields
}

/// The beginning of a body.
fn shown(answer: &Answer) -> String {
    format!("{} bytes: {}", answer.body.len(), answer.text().chars().take(200).collect::<String>())
}

#[test]
fn axum_answers_as_on_its_own_server() {
    use {axum_alone as alone, axum_hosted as hosted};
    let make = || Box::new(hosted::hosted(hosted::app::Notes::default())) as Box<dyn Application>;
    compare(("axum", 0), make, |listener| alone::serve(listener, alone::app::Notes::default()));
}

#[test]
fn warp_answers_as_on_its_own_server() {
    use {warp_alone as alone, warp_hosted as hosted};
    let make = || Box::new(hosted::hosted(hosted::app::Notes::default())) as Box<dyn Application>;
    compare(("warp", 1), make, |listener| alone::serve(listener, alone::app::Notes::default()));
}

#[test]
fn poem_answers_as_on_its_own_server() {
    use {poem_alone as alone, poem_hosted as hosted};
    let make = || Box::new(hosted::hosted(hosted::app::Notes::default())) as Box<dyn Application>;
    compare(("poem", 2), make, |listener| alone::serve(listener, alone::app::Notes::default()));
}

#[test]
fn salvo_answers_as_on_its_own_server() {
    use {salvo_alone as alone, salvo_hosted as hosted};
    let make = || Box::new(hosted::hosted(hosted::app::Notes::default())) as Box<dyn Application>;
    compare(("salvo", 3), make, |listener| alone::serve(listener, alone::app::Notes::default()));
}

#[test]
fn hyper_answers_as_on_its_own_server() {
    use {hyper_alone as alone, hyper_hosted as hosted};
    let make = || Box::new(hosted::hosted(hosted::app::Notes::default())) as Box<dyn Application>;
    compare(("hyper", 4), make, |listener| alone::serve(listener, alone::app::Notes::default()));
}

/// Fields of the moment, of the server, and of one connection only.
const FREE: &[&str] = &["date", "server", "connection", "keep-alive"];
