//! The scripts: every kind of conversation that a worker has, by name, and others drawn from a seed.

use std::time::Duration;

use ringway::connection::Limits;
use ringway::driver::sim::Chance;

use super::app::body;
use super::script::{End, Reader, Same, Script, Step, Talk};
use Step::{Drain, Finish, Hear, Reset, Say};

const MOMENT: Duration = Duration::from_millis(300);
/// An answer's last byte.
const MARK: Step = Hear(b"!");

/// Every script.
pub fn all() -> Vec<Script> {
    [plain(), bodies(), spooled(), answers(), wrong(), timed(), ends(), cuts(), crowds()]
        .into_iter()
        .flatten()
        .collect()
}

fn one(name: &str, steps: Vec<Step>, answers: &'static str) -> Script {
    Script::new(name, vec![Talk::new(steps, answers, End::Closed)])
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").into_bytes()
}

fn get_and_close(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes()
}

fn head(method: &str, path: &str, fields: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n").into_bytes()
}

fn post(path: &str, size: usize) -> Vec<u8> {
    [head("POST", path, &format!("Content-Length: {size}")), body(size)].concat()
}

/// The bytes as segments of so many bytes each.
fn cut(bytes: &[u8], size: usize) -> Vec<Step> {
    bytes.chunks(size).map(|piece| Say(piece.to_vec())).collect()
}

fn then(steps: Vec<Step>, more: impl IntoIterator<Item = Step>) -> Vec<Step> {
    steps.into_iter().chain(more).collect()
}

fn chunked(path: &str, chunks: &[&[u8]], trailers: &str) -> Vec<u8> {
    let mut bytes = head("POST", path, "Transfer-Encoding: chunked");
    for chunk in chunks {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
    bytes
}

fn plain() -> Vec<Script> {
    let three = [get("/1"), get("/2"), get("/3")].concat();
    let old = |fields: &str| format!("GET /1 HTTP/1.0\r\n{fields}\r\n").into_bytes();
    vec![
        one("kept", vec![Say(get("/1")), MARK, Say(get("/2")), MARK, Say(get("/3")), MARK, Finish], "200 200 200"),
        one("not kept", vec![Say(get_and_close("/1"))], "200"),
        one("pipeline", vec![Say(three.clone()), MARK, MARK, MARK, Finish], "200 200 200"),
        one("pipeline in pieces", then(cut(&three, 17), [MARK, MARK, MARK, Finish]), "200 200 200"),
        one("byte by byte", then(cut(&get("/"), 1), [MARK, Finish]), "200"),
        one("pipeline that is not kept", vec![Say([get("/1"), get_and_close("/2"), get("/3")].concat())], "200 200"),
        one("head only", vec![Say(head("HEAD", "/1", "X: y")), Say(get("/2")), MARK, Finish], "200 200"),
        one("1.0 kept", vec![Say(old("Connection: keep-alive\r\n")), MARK, Say(old("")), MARK], "200 200"),
        one("1.0", vec![Say(old(""))], "200"),
        // The empty line has a block of its own, and the request behind it the next.
        one(
            "empty line behind a late answer",
            vec![Say(get("/later")), Say(b"\r\n".to_vec()), Say(get("/1")), MARK, MARK, Finish],
            "200 200",
        ),
        one("all of the server", vec![Say(b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()), Finish], "204"),
        one("long head", vec![Say(head("GET", "/1", &format!("X: {}", "x".repeat(9000)))), MARK, Finish], "200"),
        one(
            "long head in pieces",
            then(cut(&head("GET", "/1", &format!("X: {}", "x".repeat(9000))), 4000), [MARK, Finish]),
            "200",
        ),
    ]
}

fn bodies() -> Vec<Script> {
    let expect = head("POST", "/echo", "Content-Length: 10\r\nExpect: 100-continue");
    let large = post("/count", 300_000);
    let behind = [large.clone(), get("/1")].concat();
    // From the second on the head comes by a receive of one block, and the body by receives of its own.
    let bulky = |rest: Vec<Step>| then([0; 3].map(|_| [Say(post("/count", 40_000)), MARK]).concat(), rest);
    let many = [post("/count", 40_000), post("/count", 40_000), get("/1"), post("/count", 40_000), get("/2")].concat();
    let chunks = chunked("/echo", &[b"first ", b"second ", b"third!"], "X-Sum: 1\r\n");
    vec![
        one("body", vec![Say(post("/echo", 100)), MARK, Finish], "200"),
        one("body in pieces", then(cut(&post("/echo", 100), 40), [MARK, Say(get("/1")), MARK, Finish]), "200 200"),
        one(
            "body behind its head",
            vec![Say(head("POST", "/echo", "Content-Length: 10")), Say(body(10)), MARK, Finish],
            "200",
        ),
        one("large body", then(cut(&large, 100_000), [MARK, Finish]), "200"),
        one("large body and more behind", then(cut(&behind, 160_000), [MARK, MARK, Finish]), "200 200"),
        one("two large bodies", vec![Say(large.clone()), MARK, Say(large), MARK, Finish], "200 200"),
        one(
            "bodies of some blocks, and none",
            bulky(vec![Say(get("/1")), MARK, Say(get("/2")), MARK, Finish]),
            "200 200 200 200 200",
        ),
        one(
            "bodies of some blocks, and one in pieces",
            bulky(then(cut(&post("/count", 40_000), 9000), [MARK, Finish])),
            "200 200 200 200",
        ),
        one("bodies of some blocks, and an end", bulky(vec![Say(get_and_close("/1"))]), "200 200 200 200"),
        one(
            "bodies of some blocks, pipelined",
            vec![Say(many), MARK, MARK, MARK, MARK, MARK, Finish],
            "200 200 200 200 200",
        ),
        one("chunked with trailers", vec![Say(chunks.clone()), MARK, Finish], "200"),
        one("chunked in pieces", then(cut(&chunks, 13), [MARK, Finish]), "200"),
        one(
            "continue",
            vec![Say(expect.clone()), Hear(b"100 Continue\r\n\r\n"), Say(body(10)), MARK, Finish],
            "100 200",
        ),
        one("continue not awaited", vec![Say([expect, body(10)].concat()), MARK, Finish], "200"),
        one("refused body read away", vec![Say(post("/refused", 100)), Say(get("/1")), MARK, Finish], "403 200"),
        one("refused body in pieces", then(cut(&post("/refused", 100), 60), [Say(get("/1")), MARK, Finish]), "403 200"),
        one("refused large body", vec![Say(head("POST", "/refused", "Content-Length: 100000")), Say(body(100))], "403"),
        one("too large a body", vec![Say(head("POST", "/echo", "Content-Length: 9000000"))], "413"),
    ]
}

fn answers() -> Vec<Script> {
    let two = [get("/later"), get("/later?20"), get("/1")].concat();
    let ways = ["/large", "/owned", "/static", "/file", "/stream"].map(|way| get(&format!("{way}?20000"))).concat();
    let slow = |path: &str| {
        let steps = vec![Say(get(path)), MARK, Finish];
        vec![Talk::new(steps, "200", End::Closed).reader(Reader::Slow)]
    };
    let stuck = Talk::new(vec![Say(get("/owned?300000"))], "", End::Closed).reader(Reader::Stuck);
    let stuck_by_stream = Talk::new(vec![Say(get("/stream?30000"))], "", End::Closed).reader(Reader::Stuck);
    let write_idle = |limits: &mut Limits| limits.write_idle = MOMENT;
    vec![
        one("large answer", vec![Say(get("/large?40000")), MARK, Finish], "200"),
        one("owned payload", vec![Say(get("/owned?40000")), MARK, Finish], "200"),
        one("static payload", vec![Say(get("/static?40000")), MARK, Finish], "200"),
        one("file payload", vec![Say(get("/file?40000")), MARK, Finish], "200"),
        one("every payload, pipelined", vec![Say(ways), MARK, MARK, MARK, MARK, MARK, Finish], "200 200 200 200 200"),
        one("stream", vec![Say(get("/stream?10000")), Hear(b"!\r\n0\r\n\r\n"), Finish], "200"),
        one("stream to 1.0", vec![Say(b"GET /stream?10000 HTTP/1.0\r\n\r\n".to_vec())], "200"),
        one("short stream", vec![Say(get("/short?10000"))], "200"),
        one("long stream", vec![Say(get("/long?10000")), Say(get("/1")), MARK, Finish], "200 200"),
        one("later", vec![Say(get("/later")), MARK, Finish], "200"),
        one("later, pipelined", vec![Say(two), MARK, MARK, MARK, Finish], "200 200 200"),
        one("later, and half-closed", vec![Say([get("/later"), get("/1")].concat()), Finish], "200 200"),
        one("later, not kept", vec![Say(get_and_close("/later"))], "200"),
        one("dropped", vec![Say([get("/dropped"), get("/1")].concat()), MARK, Finish], "500 200"),
        one("restarted", vec![Say([get("/restarted"), get("/1")].concat()), MARK, MARK, Finish], "200 200"),
        one("fail", vec![Say([get("/1"), get("/fail"), get("/2")].concat()), MARK, MARK, Finish], "200 500 200"),
        one("panic", vec![Say([get("/1"), get("/panic"), get("/2")].concat()), MARK, MARK, Finish], "200 500 200"),
        Script::new("slow reader", slow("/owned?300000")),
        Script::new("slow reader of a file", slow("/file?300000")),
        Script::new("slow reader of a stream", slow("/stream?60000")),
        Script::new("reader that takes nothing", vec![stuck]).limits(write_idle).same(Same::Simulated),
        Script::new("reader that takes nothing of a stream", vec![stuck_by_stream])
            .limits(write_idle)
            .same(Same::Simulated),
    ]
}

fn spooled() -> Vec<Script> {
    let little_memory = |limits: &mut Limits| limits.body_memory = 20_000;
    let chunks = chunked("/echo", &body(60_000).chunks(25_000).collect::<Vec<_>>(), "");
    let half = vec![Say(post("/echo", 60_000)[..50_000].to_vec()), Finish];
    let scripts = vec![
        one("spooled", vec![Say(post("/echo", 60_000)), MARK, Say(get("/1")), MARK, Finish], "200 200"),
        one("spooled in pieces", then(cut(&post("/echo", 60_000), 9000), [MARK, Finish]), "200"),
        one("spooled chunks", then(cut(&chunks, 9000), [MARK, Say(get("/1")), MARK, Finish]), "200 200"),
        one("spooled into its own buffer", vec![Say(post("/count", 300_000)), MARK, Finish], "200"),
        one("half-closed within a spooled body", half, ""),
    ];
    scripts.into_iter().map(|script| script.limits(little_memory)).collect()
}

fn wrong() -> Vec<Script> {
    let length = [get("/1"), head("POST", "/echo", "Content-Length: x")].concat();
    vec![
        one("400", vec![Say(b"GET / HTTP/1.1\r\n\r\n".to_vec())], "400"),
        one("400 behind an answer", vec![Say(length)], "200 400"),
        one(
            "400 within chunks",
            vec![Say(head("POST", "/echo", "Transfer-Encoding: chunked")), Say(b"x\r\n".to_vec())],
            "400",
        ),
        one("501", vec![Say(head("TRACE", "/", "X: y"))], "501"),
        one(
            "431",
            then(cut(&[b"GET / HTTP/1.1\r\nHost: h\r\nX: ".to_vec(), vec![b'x'; 20_000]].concat(), 9000), []),
            "431",
        ),
    ]
}

fn timed() -> Vec<Script> {
    let half = || Say(b"GET / HTTP/1.1\r\nHost".to_vec());
    let half_body = || vec![Say(head("POST", "/echo", "Content-Length: 10")), Say(b"half".to_vec())];
    let head_timeout = |limits: &mut Limits| limits.head_timeout = MOMENT;
    let large = then(cut(&post("/count", 300_000)[..200_000], 100_000), []);
    vec![
        one("idle", vec![Say(get("/1")), MARK], "200").limits(|limits| limits.keepalive = MOMENT),
        one("silent", vec![], "").limits(head_timeout),
        one("slow head", vec![half()], "408").limits(head_timeout),
        one("slow head behind an answer", vec![Say(get("/1")), MARK, half()], "200 408").limits(head_timeout),
        one("slow body", half_body(), "408").limits(|limits| limits.body_idle = MOMENT),
        one("slow large body", large, "408").limits(|limits| limits.body_idle = MOMENT),
    ]
}

fn ends() -> Vec<Script> {
    let expect = head("POST", "/echo", "Content-Length: 10\r\nExpect: 100-continue");
    let left = |name: &str, steps: Vec<Step>, answers: &'static str| {
        Script::new(name, vec![Talk::new(steps, answers, End::Left)])
    };
    let half = || vec![Say(get("/1")[..10].to_vec())];
    let rest = || Say(get("/1")[10..].to_vec());
    vec![
        one("half-closed", vec![Say(get("/1")), Finish], "200"),
        one(
            "half-closed, pipelined",
            vec![Say([get("/1"), get("/owned?20000"), get("/2")].concat()), Finish],
            "200 200 200",
        ),
        one("half-closed within a head", then(half(), [Finish]), ""),
        one("half-closed within a body", vec![Say(post("/echo", 100)[..90].to_vec()), Finish], ""),
        one("half-closed within a large body", vec![Say(post("/count", 300_000)[..200_000].to_vec()), Finish], ""),
        one("nothing but an end", vec![Finish], ""),
        one("more behind the last", vec![Say(get_and_close("/1")), MARK, Say(b"more".to_vec()), Finish], "200"),
        left("reset within a head", then(half(), [Reset]), ""),
        left("reset behind an answer", vec![Say(get("/1")), MARK, Reset], "200"),
        left(
            "reset within a body behind others",
            then(
                [0; 2].map(|_| [Say(post("/count", 40_000)), MARK]).concat(),
                [Say(post("/count", 40_000)[..30_000].to_vec()), Reset],
            ),
            "200 200",
        ),
        left("reset within a body", vec![Say(post("/count", 300_000)[..200_000].to_vec()), Reset], ""),
        one("drain of an idle connection", vec![Say(get("/1")), MARK, Drain], "200").same(Same::Beginning),
        one("drain within a head", then(half(), [Drain, rest()]), "200").same(Same::Beginning),
        one("drain within a body", vec![Say(expect), Hear(b"100 Continue\r\n\r\n"), Drain, Say(body(10))], "100 200")
            .same(Same::Beginning),
        one("drain within a stream", vec![Say(get("/stream?60000")), Hear(b"abc"), Drain], "200").same(Same::Simulated),
        one("drain of a late answer", vec![Say(get("/later")), Drain], "200").same(Same::Simulated),
        one("drain within a large body", then(cut(&post("/count", 300_000), 100_000), [Drain]), "200")
            .same(Same::Simulated),
        one("drain of a pipeline", vec![Say([get("/1"), get("/2")].concat()), Drain], "200 200").same(Same::Simulated),
        Script::new(
            "drain to a slow reader",
            vec![
                Talk::new(vec![Say(get("/owned?300000")), Hear(b"Content-Length"), Drain], "200", End::Closed)
                    .reader(Reader::Slow),
            ],
        )
        .same(Same::Simulated),
    ]
}

/// What a drain cuts at its timeout, long after the connections between two requests are closed.
fn cuts() -> Vec<Script> {
    let continued = Hear(b"100 Continue\r\n\r\n");
    let expect = head("POST", "/echo", "Content-Length: 10\r\nExpect: 100-continue");
    let large = head("POST", "/count", "Content-Length: 300000\r\nExpect: 100-continue");
    let cut = |name: &str, steps: Vec<Step>, answers: &'static str| {
        one(name, steps, answers).graceful(4 * MOMENT).same(Same::Beginning)
    };
    // The worker stops to read from a peer that is ahead of a pending answer, and resets it with bytes unread.
    let flood = [get("/never"), body(4_000_000)].concat();
    vec![
        cut("cut within a body", vec![Say(expect), continued.clone(), Say(body(5)), Drain], "100"),
        cut("cut within a large body", vec![Say(large), continued, Say(body(100_000)), Drain], "100"),
        cut("cut of a pending answer", vec![Say([get("/1"), get("/never")].concat()), MARK, Drain], "200"),
        Script::new(
            "cut of a peer that is ahead",
            vec![
                Talk::new(vec![Say(flood)], "", End::Reset),
                Talk::new(vec![Say(get("/1")), MARK, Drain], "200", End::Closed),
            ],
        )
        .graceful(MOMENT)
        .same(Same::Beginning),
    ]
}

fn crowds() -> Vec<Script> {
    let talk = |steps: Vec<Step>, answers: &'static str| Talk::new(steps, answers, End::Closed);
    let short = || vec![Say(get("/1")), MARK, Finish];
    let upload = || talk(then(cut(&post("/echo", 60_000), 20_000), [MARK, Finish]), "200");
    vec![
        Script::new(
            "three peers",
            vec![
                talk(short(), "200"),
                talk(vec![Say(get("/later")), MARK, Finish], "200"),
                talk(then(cut(&post("/echo", 100), 50), [MARK, Finish]), "200"),
            ],
        ),
        Script::new("three peers and one slot", (0..3).map(|_| talk(short(), "200")).collect()).connections(1),
        Script::new("six peers and two slots", (0..6).map(|_| talk(vec![Say(get_and_close("/1"))], "200")).collect())
            .connections(2),
        Script::new(
            "drain with peers in the queue",
            vec![
                talk(vec![Say(get("/1")), MARK, Drain], "200"),
                talk(vec![Say(get("/2"))], "200"),
                talk(vec![Say(get("/3"))], "200"),
            ],
        )
        .connections(1)
        .same(Same::Simulated),
        Script::new("blocks short", vec![upload(), upload(), upload()]).blocks(2).same(Same::Simulated),
    ]
}

/// A script drawn from a seed: some peers, each with some requests, cut anywhere.
pub fn drawn(seed: u64) -> Script {
    let mut chance = Chance::new(seed);
    let talks = (0..1 + chance.below(4)).map(|_| drawn_talk(&mut chance)).collect();
    Script::new(format!("seed {seed}"), talks).connections(chance.pick(&[1, 2, 100]))
}

fn drawn_talk(chance: &mut Chance) -> Talk {
    let mut bytes = Vec::new();
    for _ in 0..1 + chance.below(5) {
        bytes.extend(drawn_request(chance));
    }
    let ends_itself = chance.below(3) == 0;
    if ends_itself {
        bytes.extend(if chance.below(2) == 0 { get_and_close("/last") } else { b"wrong\r\n\r\n".to_vec() });
    }
    let size = chance.pick(&[7, 100, 5000, 1_000_000]).max(bytes.len() / 50);
    let mut steps = cut(&bytes, size);
    if !ends_itself {
        steps.push(Finish);
    }
    let reader = chance.pick(&[Reader::Fast, Reader::Fast, Reader::Slow]);
    // Which answers come is for the players to agree on.
    Talk::new(steps, "?", End::Closed).reader(reader)
}

fn drawn_request(chance: &mut Chance) -> Vec<u8> {
    let size = chance.pick(&[2, 100, 4000, 20_000, 60_000]);
    let way = chance
        .pick(&["/1", "/large", "/owned", "/static", "/file", "/stream", "/later", "/dropped", "/fail", "/panic"]);
    let path = format!("{way}?{size}");
    match chance.below(8) {
        0 => head("HEAD", &path, "X: y"),
        1 => post("/echo", size),
        2 => chunked("/echo", &body(size).chunks(1 + size / 3).collect::<Vec<_>>(), ""),
        3 => post("/count", chance.pick(&[5, 300_000])),
        4 => post("/refused", 100),
        5 => format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").into_bytes(),
        _ => get(&path),
    }
}
