//! What must have come of a conversation, by the second reading and the application's outcomes.

use crate::http::fuzz::reader::{Asked, End, Framing, Head, Reading};

use super::app::{Promise, Puppet};
use super::replies;
use super::reply::Reply;
use super::rig::State;
use super::script::{Run, Script};

/// Status, body and fields of each final response, for the comparison of two runs.
pub(super) type Said = Vec<(u16, Vec<u8>, Vec<(String, Vec<u8>)>)>;

/// What a request must be answered with.
enum Due {
    /// The application's doing, or its fault.
    Call(Promise),
    /// The server's own word, and whether the connection may stay.
    Server(u16, bool),
}

/// A walk through what was said, beside what was asked.
struct Walk<'w> {
    run: &'w Run<'w>,
    script: &'w Script<'w>,
    puppet: &'w Puppet,
    rest: &'w [u8],
    call_count: usize,
    admission_count: usize,
    completed_count: usize,
    fault_count: usize,
    said: Said,
}

/// Whether the walk goes on behind a response.
enum Then {
    On,
    Over,
}

/// Judges a run before its peer has finished.
pub(super) fn judge(script: &Script<'_>, run: &Run<'_>, puppet: &Puppet, reading: &Reading) -> Said {
    let mut walk = Walk {
        run,
        script,
        puppet,
        rest: &run.rig.sent,
        call_count: 0,
        admission_count: 0,
        completed_count: 0,
        fault_count: 0,
        said: Vec::new(),
    };
    for asked in &reading.requests {
        let due = walk.due(asked);
        match walk.step(&asked.head, due) {
            Then::On => {}
            Then::Over => return walk.end(),
        }
    }
    if let End::Waits(Some(head)) | End::Refused(_, Some(head)) = &reading.end {
        // The body is not there, or not right; but it may not have been wanted at all.
        if is_admitted_first(head, &reading.end)
            && let Some(status) = walk.admission(head)
        {
            let stays = walk.may_skip(head) && matches!(reading.end, End::Waits(_));
            match walk.step(head, Due::Server(status, stays)) {
                Then::On => assert!(run.rig.state == State::Open || !run.is_calm(), "the body is read away"),
                Then::Over => {}
            }
            return walk.end();
        }
        if is_admitted_first(head, &reading.end) && walk.has_streamed(head) {
            walk.judge_streamed_end(head, reading);
            return walk.end();
        }
    }
    walk.judge_end(reading);
    walk.end()
}

/// Whether the application is asked about a body before what is wrong is seen.
fn is_admitted_first(head: &Head, end: &End) -> bool {
    match end {
        End::Waits(_) => true,
        End::Refused(..) => head.framing == Framing::Chunked && head.method != b"CONNECT" && head.method != b"TRACE",
        End::Closes => false,
    }
}

impl Walk<'_> {
    /// What becomes of a complete request.
    fn due(&mut self, asked: &Asked) -> Due {
        let head = &asked.head;
        if head.target == b"*" {
            return Due::Server(204, head.keep_alive);
        }
        if let Some(status) = self.admission(head) {
            return Due::Server(status, self.may_skip(head));
        }
        let is_streamed = self.has_streamed(head);
        let index = self.call_count;
        self.call_count += 1;
        match self.puppet.shared.calls.borrow().get(index) {
            Some(call) if is_streamed && !self.run.is_calm() => call.compare_start(asked),
            Some(call) => call.compare(asked),
            None => assert!(!self.run.is_calm(), "the application is asked"),
        }
        if !is_streamed {
            return Due::Call(self.puppet.outcome(index).promise(head));
        }
        let echo = self.puppet.echo(index, &head.method);
        Due::Call(Promise {
            status: 200,
            body: asked.body.clone(),
            closes: echo.closes(head),
            breaks: false,
            may_break: echo.is_early() && !self.run.is_calm(),
            is_own: true,
            is_fault: false,
        })
    }

    /// Whether the body that was admitted last is one of a request with this head, and streamed.
    fn has_streamed(&self, head: &Head) -> bool {
        head.framing != Framing::None && head.target != b"*" && self.puppet.streams(self.admission_count - 1)
    }

    /// The status with which a body is refused.
    fn admission(&mut self, head: &Head) -> Option<u16> {
        if head.framing == Framing::None || head.target == b"*" {
            return None;
        }
        self.admission_count += 1;
        self.puppet.admission(self.admission_count - 1)
    }

    /// Whether a refused body is read away: a small one that is on its way.
    fn may_skip(&self, head: &Head) -> bool {
        let size = match head.framing {
            Framing::Length(size) => size,
            Framing::None | Framing::Chunked => u64::MAX,
        };
        head.keep_alive && !head.expects_continue && size <= self.script.limits.drain_max
    }

    /// Reads one response, which must be what is due.
    fn step(&mut self, head: &Head, due: Due) -> Then {
        let run = self.run;
        let has_ended = run.rig.state != State::Open;
        self.fault_count += usize::from(match &due {
            Due::Server(status, _) => *status == 500,
            Due::Call(promise) => promise.is_fault,
        });
        let before = self.rest;
        let Some(reply) = self.read_due(head, &due, has_ended) else {
            self.rest = before;
            return self.missing(head, &due);
        };
        let mut body = reply.body.clone();
        let (status, stays) = match due {
            Due::Server(status, stays) => {
                body.clear();
                (status, stays)
            }
            Due::Call(promise) => {
                let index = (self.call_count - 1).to_string();
                let own: Vec<&[u8]> = reply.values("X-Call").collect();
                assert_eq!(own, promise.is_own.then_some(index.as_bytes()).into_iter().collect::<Vec<_>>(), "in order");
                let expected = if head.method == b"HEAD" { &b""[..] } else { &promise.body };
                if promise.breaks || (run.was_cut || promise.may_break) && body != expected {
                    // A 1.0 response that ends with the connection hides that it broke off.
                    assert!(head.is_http10 && expected.starts_with(&body), "what breaks off is not whole");
                    assert!(reply.close && self.rest.is_empty(), "it was the last");
                    return Then::Over;
                }
                assert_eq!(body, expected, "the body that the application gave");
                (promise.status, head.keep_alive && !promise.closes)
            }
        };
        assert_eq!(reply.status, status, "the status that is due");
        assert!(stays || reply.close, "what closes says so");
        assert!(!reply.close || !stays || run.has_drained, "what need not close does not");
        if head.is_http10 {
            assert!(reply.close != reply.keep_alive, "HTTP/1.0 is told either way");
        }
        let fields =
            reply.fields.into_iter().filter(|field| !["Date", "Connection"].contains(&field.0.as_str())).collect();
        self.said.push((status, body, fields));
        self.completed_count += 1;
        if reply.close { Then::Over } else { Then::On }
    }

    fn read_due(&mut self, head: &Head, due: &Due, has_ended: bool) -> Option<Reply> {
        // Of a response that breaks off, or that had no time, the head must be right still.
        let is_whole = match due {
            Due::Server(..) => true,
            Due::Call(promise) => !promise.breaks || head.is_http10,
        };
        replies::skip_interim(&mut self.rest, Some(head));
        if is_refusal(self.rest, self.run) {
            return None;
        }
        let reply = replies::read_final(&mut self.rest, head, has_ended);
        assert!(reply.is_none() || is_whole, "a response that breaks is not whole");
        reply
    }

    /// There is no whole response: it broke off, or something had happened before.
    fn missing(&mut self, head: &Head, due: &Due) -> Then {
        let run = self.run;
        // The body may have been asked for before it was refused after all.
        replies::skip_interim(&mut self.rest, Some(head));
        if let Due::Call(promise) = due
            && (promise.breaks || promise.may_break)
            && !self.rest.is_empty()
            && !is_refusal(self.rest, run)
        {
            assert!(promise.may_break || run.rig.state == State::Closed, "a broken response ends the connection");
            self.rest = &[];
            return Then::Over;
        }
        assert!(!run.is_calm(), "each request has its response");
        if run.was_cut {
            self.rest = &[];
        }
        Then::Over
    }

    /// The last request has a streamed body that is not there, or not right: the application was called, and may have begun
    /// to answer.
    fn judge_streamed_end(&mut self, head: &Head, reading: &Reading) {
        let run = self.run;
        let index = self.call_count;
        self.call_count += 1;
        let shared = self.puppet.shared.clone();
        let calls = shared.calls.borrow();
        let Some(call) = calls.get(index) else { return assert!(!run.is_calm(), "the application is asked") };
        let is_refused = matches!(reading.end, End::Refused(..));
        call.compare_head(head, 0);
        replies::skip_interim(&mut self.rest, Some(head));
        let is_early = self.puppet.echo(index, &head.method).is_early();
        if !is_early || is_refusal(self.rest, run) || is_refused && !self.rest.starts_with(b"HTTP/1.1 200 ") {
            // What the refusal says is not held against that of another run, in which the head may have been sent before.
            self.judge_end(reading);
            self.said.truncate(self.completed_count);
            return;
        }
        if run.is_calm() {
            let returned = replies::read_partial(self.rest, index, head.is_http10);
            assert_eq!(returned, call.body, "what has come is returned");
            assert_eq!(run.rig.state, if is_refused { State::Closed } else { State::Open }, "it breaks off or waits");
            self.fault_count += usize::from(is_refused);
        }
        self.rest = &[];
    }

    fn judge_end(&mut self, reading: &Reading) {
        let rig = &self.run.rig;
        match &reading.end {
            _ if !self.run.is_calm() => {
                if let End::Refused(_, head) | End::Waits(head) = &reading.end {
                    replies::skip_interim(&mut self.rest, head.as_deref());
                }
            }
            End::Closes => assert_ne!(rig.state, State::Open, "the last response closes"),
            End::Waits(head) => {
                replies::skip_interim(&mut self.rest, head.as_deref());
                assert_eq!((rig.state, rig.heard.refused.len()), (State::Open, 0), "nothing is wrong yet");
            }
            End::Refused(statuses, head) => {
                let reply = replies::read_refusal(&mut self.rest, head.as_deref(), reading.asks_for_head);
                let reply = reply.expect("a refusal has its response");
                assert!(statuses.contains(&reply.status) && reply.close, "{} is not of {statuses:?}", reply.status);
                assert_eq!((rig.state, rig.heard.refused.len()), (State::Finished, 1), "it was the last response");
                self.said.push((reply.status, reply.body, Vec::new()));
            }
        }
    }

    /// Nothing else was said, but what an event may have added.
    fn end(mut self) -> Said {
        let run = self.run;
        self.puppet.shared.check();
        let rig = &run.rig;
        if !run.is_calm() && !run.was_cut && !self.rest.is_empty() {
            let refused = rig.heard.refused.last().expect("it is a refusal").status().code();
            let is_head = self.rest.ends_with(b"\r\n\r\n");
            let reply = replies::read_refusal(&mut self.rest, None, is_head).expect("a refusal is whole");
            assert_eq!((reply.status, reply.close), (refused, true), "what was refused is told");
            assert_ne!(rig.state, State::Open, "it is the last");
        }
        assert!(self.rest.is_empty() || run.was_cut, "nothing else is said: {}", self.rest.escape_ascii());
        assert!(rig.heard.refused.len() <= 1, "only one is refused");
        if run.is_calm() {
            assert_eq!(self.puppet.shared.calls.borrow().len(), self.call_count, "nothing else is asked");
            assert_eq!(rig.heard.faults.len(), self.fault_count, "each fault is heard once: {:?}", rig.heard.faults);
            let completed: Vec<u16> = rig.heard.completed.iter().map(|completed| completed.0).collect();
            let said: Vec<u16> = self.said.iter().map(|said| said.0).take(self.completed_count).collect();
            assert_eq!(completed, said, "what was said is noted");
        }
        self.said
    }
}

/// Whether only the server's own last word is left, which an event has brought.
fn is_refusal(rest: &[u8], run: &Run<'_>) -> bool {
    !run.is_calm() && (rest.starts_with(b"HTTP/1.1 408 ") || rest.starts_with(b"HTTP/1.1 503 "))
}
