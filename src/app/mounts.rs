//! Several applications on one server, by path.
//!
//! The longest prefix that ends on a segment boundary of the decoded path wins; it moves from `PATH_INFO`
//! to `SCRIPT_NAME`. Where no prefix matches, the answer is 404. This module performs no I/O.

use crate::environ::Environ;
use crate::http::status::Status;
use crate::response::{Responded, StartResponse};

use super::{Admission, Application, Named};

/// Applications and the prefixes that they are mounted at.
#[derive(Default)]
pub struct Mounts {
    /// Longest prefix first; `/` is kept as the empty prefix.
    mounts: Vec<(String, Named<Box<dyn Application>>)>,
}

impl Mounts {
    /// No mounts: every answer is 404.
    #[must_use]
    pub fn new() -> Mounts {
        Mounts::default()
    }

    /// Mounts `app`, called `name` in the log, at `prefix` (`/api`, or `/` for everything else). A later
    /// mount at the same prefix replaces the earlier one.
    #[must_use]
    pub fn mount(mut self, prefix: &str, name: &str, app: impl Application + 'static) -> Mounts {
        let prefix = prefix.trim_end_matches('/').to_string();
        self.mounts.retain(|(other, _)| *other != prefix);
        let app: Box<dyn Application> = Box::new(app);
        self.mounts.push((prefix, Named::new(name, app)));
        self.mounts.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    fn find<'e>(&self, environ: &Environ<'e>) -> Option<(&Named<Box<dyn Application>>, Environ<'e>)> {
        let path = environ.path_info();
        self.mounts.iter().find_map(|(prefix, app)| {
            let rest = path.strip_prefix(prefix.as_bytes())?;
            let is_boundary = prefix.is_empty() || rest.is_empty() || rest.starts_with(b"/");
            is_boundary.then(|| (app, environ.mounted(prefix.len())))
        })
    }
}

impl Application for Mounts {
    fn call<'r>(&self, environ: &Environ<'_>, start_response: StartResponse<'r>) -> Responded<'r> {
        match self.find(environ) {
            Some((app, environ)) => app.call(&environ, start_response),
            None => start_response.start(Status::NOT_FOUND).header("Content-Type", "text/plain").body("Not Found\n"),
        }
    }

    fn admit(&self, environ: &Environ<'_>) -> Admission {
        match self.find(environ) {
            Some((app, environ)) => app.admit(&environ),
            None => Admission::Refuse(Status::NOT_FOUND),
        }
    }

    fn reads_peer(&self) -> bool {
        self.mounts.iter().any(|(_, app)| app.reads_peer())
    }

    fn name<'s>(&'s self, environ: &Environ<'_>) -> &'s str {
        self.find(environ).map_or("no mount", |(app, environ)| app.name(&environ))
    }

    fn holds_lock(&self) -> bool {
        self.mounts.iter().any(|(_, app)| app.holds_lock())
    }

    fn needs_runtime(&self) -> bool {
        self.mounts.iter().any(|(_, app)| app.needs_runtime())
    }

    /// Each mount that holds a lock lets go of its own, one within the other.
    fn let_wait(&self, wait: &mut dyn FnMut()) {
        wait_within(&self.mounts, wait);
    }
}

fn wait_within(mounts: &[(String, Named<Box<dyn Application>>)], wait: &mut dyn FnMut()) {
    match mounts.split_first() {
        Some(((_, app), others)) if app.holds_lock() => app.let_wait(&mut || wait_within(others, wait)),
        Some((_, others)) => wait_within(others, wait),
        None => wait(),
    }
}
