//! The application that the scripts talk to: the path says how it answers, the query how long.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use ringway::{Admission, Answer, Application, Environ, Responded, StartResponse, Status, blocks};

use crate::support::fixtures::pattern;

/// Answers that were put off, to be completed by whoever turns the worker.
pub type Later = Rc<RefCell<Vec<(Answer, usize)>>>;

/// One instance, for one worker.
pub struct App {
    /// Where late answers are kept; without it a thread completes each.
    later: Option<Later>,
    /// Answers that are never given.
    never: RefCell<Vec<Answer>>,
}

impl App {
    /// Late answers are completed by threads.
    pub fn boxed() -> Box<dyn Application> {
        Box::new(App { later: None, never: RefCell::default() })
    }

    /// Late answers are kept.
    pub fn keeping(later: Later) -> Box<dyn Application> {
        Box::new(App { later: Some(later), never: RefCell::default() })
    }
}

impl Application for App {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        let size = String::from_utf8_lossy(environ.query_string()).parse().unwrap_or(10);
        match environ.path_info() {
            b"/large" => start_response.start(Status::OK).body(body(size)),
            b"/owned" => start_response.start(Status::OK).body_owned(body(size)),
            b"/static" => start_response.start(Status::OK).body_static(&whole()[whole().len() - size..]),
            b"/file" => match file() {
                Ok(file) => {
                    let offset = whole().len() - size;
                    start_response.start(Status::OK).file(file, offset as u64, size as u64)
                }
                Err(error) => start_response.fail(error),
            },
            b"/stream" => start_response.start(Status::OK).stream(pieces(size)),
            // The last byte is missing.
            b"/short" => {
                start_response.start(Status::OK).header("Content-Length", (size + 1).to_string()).stream(pieces(size))
            }
            b"/long" => {
                start_response.start(Status::OK).header("Content-Length", (size - 1).to_string()).stream(pieces(size))
            }
            b"/echo" => start_response.start(Status::OK).body(environ.input().bytes()),
            b"/count" => start_response.start(Status::OK).body(format!("{} bytes!", environ.input().size())),
            b"/later" => {
                let (responded, answer) = start_response.later();
                match &self.later {
                    Some(later) => later.borrow_mut().push((answer, size)),
                    None => drop(std::thread::spawn(move || complete(answer, size))),
                }
                responded
            }
            b"/never" => {
                let (responded, answer) = start_response.later();
                self.never.borrow_mut().push(answer);
                responded
            }
            b"/dropped" => start_response.later().0,
            b"/restarted" => start_response.later().0.restart().start(Status::OK).body(body(size)),
            b"/fail" => start_response.fail("on purpose"),
            b"/panic" => panic!("on purpose"),
            path => start_response.start(Status::OK).body([b"at ", path, b"!"].concat()),
        }
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        match environ.path_info() {
            b"/refused" => Admission::Refuse(Status::FORBIDDEN),
            _ => Admission::Buffer,
        }
    }
}

/// Completes an answer that was put off.
pub fn complete(answer: Answer, size: usize) {
    answer.respond(move |start_response| respond(start_response, size));
}

fn respond(start_response: StartResponse<'_>, size: usize) -> Responded<'_> {
    start_response.start(Status::OK).body(body(size))
}

/// So many bytes, the last an exclamation mark, which is nowhere else in an answer.
pub fn body(size: usize) -> Vec<u8> {
    let mut body = pattern(size);
    if let Some(last) = body.last_mut() {
        *last = b'!';
    }
    body
}

fn pieces(size: usize) -> impl ringway::Stream + 'static {
    blocks(body(size).chunks(3000).map(<[u8]>::to_vec).collect::<Vec<_>>())
}

fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| body(400_000))
}

fn file() -> std::io::Result<Arc<std::fs::File>> {
    static FILE: OnceLock<Arc<std::fs::File>> = OnceLock::new();
    if let Some(file) = FILE.get() {
        return Ok(file.clone());
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(whole())?;
    Ok(FILE.get_or_init(|| Arc::new(file)).clone())
}
