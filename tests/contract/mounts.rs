//! Several applications on one server, by path.

use std::cell::Cell;
use std::rc::Rc;

use ringway::{Admission, Application, Environ, Mounts, Responded, StartResponse, Status, app};

use crate::talk::{replies, request, talk};

/// Answers with its name and where it stands.
fn placed(name: &'static str) -> impl Application {
    app(move |environ, start_response| {
        let place = [name.as_bytes(), environ.script_name(), environ.path_info()].join(&b'|');
        start_response.start(Status::OK).body(place)
    })
}

fn sites() -> Mounts {
    Mounts::new()
        .mount("/api", "api", placed("api"))
        .mount("/api/v2/", "v2", placed("v2"))
        .mount("/a b", "space", placed("space"))
        .mount(
            "/nested",
            "outer",
            Mounts::new().mount("/inner", "inner", placed("inner")).mount("/", "rest", placed("rest")),
        )
}

fn place(mounts: Mounts, target: &str) -> (u16, String) {
    let memory = talk(mounts, request("GET", target));
    assert_eq!(memory.heard.faults, [""; 0]);
    let reply = replies(&memory.sent, &["GET"]).remove(0);
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

#[test]
fn the_longest_prefix_on_a_segment_boundary_answers() {
    for (target, expected) in [
        ("/api", "api|/api|"),
        ("/api/", "api|/api|/"),
        ("/api/users?x", "api|/api|/users"),
        ("/api//v2", "api|/api|//v2"),
        ("/api/v2", "v2|/api/v2|"),
        ("/api/v2/users", "v2|/api/v2|/users"),
        ("/api/v20", "api|/api|/v20"),
        // Prefixes are compared with the decoded path, so the escaped slash is one.
        ("/api%2Fv2/%75sers", "v2|/api/v2|/users"),
        ("/%61pi/x", "api|/api|/x"),
        ("/a%20b/c%20d", "space|/a b|/c d"),
        ("/nested/inner/x", "inner|/nested/inner|/x"),
        ("/nested/inne", "rest|/nested|/inne"),
        ("/nested", "rest|/nested|"),
        ("http://other/api/x", "api|/api|/x"),
    ] {
        assert_eq!(place(sites(), target), (200, expected.to_string()), "{target}");
    }
}

#[test]
fn where_no_prefix_matches_there_is_nothing() {
    for target in ["/", "/apis", "/ap", "/API", "/x/api", "/api2/v2", "//api"] {
        assert_eq!(place(sites(), target), (404, "Not Found\n".to_string()), "{target}");
    }
    assert_eq!(place(Mounts::new(), "/").0, 404);
}

#[test]
fn the_root_answers_for_the_rest() {
    for prefix in ["/", "", "//"] {
        let mounts = || sites().mount(prefix, "root", placed("root"));
        assert_eq!(place(mounts(), "/").1, "root||/", "{prefix:?}");
        assert_eq!(place(mounts(), "/apis").1, "root||/apis");
        assert_eq!(place(mounts(), "/api/x").1, "api|/api|/x");
    }
}

#[test]
fn a_later_mount_replaces_an_earlier_one() {
    assert_eq!(place(sites().mount("/api/", "new", placed("new")), "/api/x").1, "new|/api|/x");
}

/// Refuses every body; names its mount in the refusal by the status.
struct Refusing;

impl Application for Refusing {
    fn call<'r>(&self, _environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.fail("it is not called with a body")
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        assert_eq!((environ.script_name(), environ.path_info()), (&b"/no"[..], &b"/x"[..]));
        assert_eq!((environ.content_length(), environ.input().size()), (Some(4), 0));
        Admission::Refuse(Status::FORBIDDEN)
    }
}

#[test]
fn the_mounted_application_admits() {
    let mounts = sites().mount("/no", "no", Refusing);
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    let memory = talk(mounts, [post("/no/x"), post("/nowhere"), post("/api/x")].concat());
    assert_eq!(memory.heard.faults, [""; 0]);
    let statuses: Vec<u16> = replies(&memory.sent, &["POST"; 3]).iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [403, 404, 200]);
}

#[test]
fn faults_bear_the_name_of_the_mounted_application() {
    fn failing<'r>(_environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        start_response.fail("on purpose")
    }
    let mounts = Mounts::new().mount("/a", "first", failing).mount("/", "second", failing);
    let memory = talk(mounts, [request("GET", "/a"), request("GET", "/b")].concat());
    assert_eq!(memory.heard.faults, ["first: failed: on purpose", "second: failed: on purpose"]);
}

#[test]
fn an_owned_environ_keeps_its_mount() {
    let mounts = Mounts::new().mount(
        "/a b",
        "a",
        app(|environ, start_response| {
            let owned = environ.to_owned();
            let (responded, answer) = start_response.later();
            std::thread::spawn(move || {
                owned.with(|environ| {
                    let place = [environ.script_name(), environ.path_info()].join(&b'|');
                    answer.respond(|start_response| start_response.start(Status::OK).body(&place));
                });
            });
            responded
        }),
    );
    assert_eq!(place(mounts, "/a%20b/c").1, "/a b|/c");
}

#[test]
fn the_peer_is_asked_for_if_any_mounted_application_reads_it() {
    struct Blind;
    impl Application for Blind {
        fn call<'r>(&self, _environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
            start_response.start(Status::OK).empty()
        }

        fn reads_peer(&self) -> bool {
            false
        }
    }
    assert!(!Mounts::new().mount("/a", "a", Blind).reads_peer());
    assert!(Mounts::new().mount("/a", "a", Blind).mount("/b", "b", placed("b")).reads_peer());
}

#[test]
fn every_mount_that_holds_a_lock_lets_go_of_it_for_one_wait() {
    struct Locked(Rc<Cell<i32>>);
    impl Application for Locked {
        fn call<'r>(&self, _environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
            start_response.start(Status::OK).empty()
        }

        fn holds_lock(&self) -> bool {
            true
        }

        fn let_wait(&self, wait: &mut dyn FnMut()) {
            self.0.set(self.0.get() + 1);
            wait();
            self.0.set(self.0.get() - 1);
        }
    }
    let released = Rc::new(Cell::new(0));
    let locked = || Locked(released.clone());
    let mounts = Mounts::new().mount("/a", "a", locked()).mount("/b", "b", placed("b")).mount("/c", "c", locked());
    assert!(mounts.holds_lock());
    let mut waits = Vec::new();
    let boxed: Box<dyn Application> = Box::new(mounts);
    boxed.let_wait(&mut || waits.push(released.get()));
    assert_eq!((waits, released.get()), (vec![2], 0));
    assert!(!Mounts::new().mount("/b", "b", placed("b")).holds_lock());
}
