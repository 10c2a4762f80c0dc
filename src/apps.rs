//! The bundled applications. Each is a lesson in the interface, and what the tests drive.

pub mod echo;
pub mod environ;
pub mod hello;

use crate::app::Apps;

/// Every bundled application.
#[must_use]
pub fn bundled() -> Apps {
    crate::apps! {
        "hello:app", "Answers any request with Hello, World!" => hello::Hello,
        "hello:json", "Answers any request with a JSON greeting." => hello::json,
        "echo:app", "Returns the request's body, or its head if it has none." => echo::app,
        "environ:app", "Shows the environ of the request as text." => environ::app,
    }
}
