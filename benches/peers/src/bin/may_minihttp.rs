//! may_minihttp with one worker: `may_minihttp PORT`.
//!
//! It has no way to send memory without a copy, so that `/static` is copied, and it never closes a connection
//! because a request asks for it.

use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};
use ringway_peers::field::{HELLO, STATIC_BODY, run};
use std::io::{self, Read};
use std::process::ExitCode;

struct Factory;

struct Service;

fn main() -> ExitCode {
    run("may_minihttp", |address| -> io::Result<()> {
        // The sizes are those of its own benchmark program.
        may::config().set_workers(1).set_pool_capacity(1000).set_stack_size(0x1000);
        Factory.start(address)?.join().map_err(|_| io::Error::other("the listener has failed"))
    })
}

impl HttpServiceFactory for Factory {
    type Service = Service;

    fn new_service(&self, _id: usize) -> Service {
        Service
    }
}

impl HttpService for Service {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        match request.path() {
            "/echo" => {
                let mut body = Vec::new();
                request.body().read_to_end(&mut body)?;
                response.header("Content-Type: application/octet-stream").body_vec(body);
            }
            "/static" => {
                let body = str::from_utf8(&STATIC_BODY).expect("it is ASCII");
                response.header("Content-Type: application/octet-stream").body(body);
            }
            _ => response.header("Content-Type: text/plain").body(HELLO),
        }
        Ok(())
    }
}
