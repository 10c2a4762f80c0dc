//! The gateway interface, rule by rule (docs/CONTRACT.md): applications that keep a rule and applications that
//! break it, on a connection in memory.

#[path = "contract/answers.rs"]
mod answers;
#[path = "contract/bodies.rs"]
mod bodies;
#[path = "contract/environ.rs"]
mod environ;
#[path = "contract/faults.rs"]
mod faults;
#[path = "contract/middleware.rs"]
mod middleware;
#[path = "contract/mounts.rs"]
mod mounts;
#[path = "contract/pipes.rs"]
mod pipes;
#[path = "contract/request_ids.rs"]
mod request_ids;
mod support;
#[path = "contract/talk.rs"]
mod talk;
