//! From the names that the operator typed to the applications that are served.

use std::sync::{Arc, Once};

use crate::app::{Application, Apps, Mounts, Named, Threads};
use crate::diagnostics::{Level, say_patiently};
use crate::server::Factory;

use super::flags::{Interface, PythonFlags};
use super::python;

/// What is to be served.
#[derive(Clone)]
pub(super) enum Choice {
    /// One application for every path.
    One(Served),
    /// Several, each below its prefix.
    Mounted(Vec<(String, Served)>),
}

/// An application under the name that was typed for it.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) name: String,
    /// Makes an instance; called once in each worker.
    pub(super) make: Factory,
}

/// The names that were typed, or what stands for them.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) app: Option<&'a str>,
    /// Prefixes with names.
    pub(super) mounts: &'a [(String, String)],
}

/// What a Python application is told of the server.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "wsgi"), allow(dead_code, reason = "a build without Python has nobody to tell"))]
pub(super) struct Surroundings {
    /// Whether other threads of this process serve it as well.
    pub(super) is_multithread: bool,
    /// Whether other processes do.
    pub(super) is_multiprocess: bool,
}

/// Why there is nothing to serve: lines for stderr.
#[derive(Debug)]
pub(super) struct NotFound(pub(super) Vec<String>);

impl Choice {
    /// The same, called in so many threads of each worker where a number is given. One that awaits stays on the worker's
    /// own, where it finds what it awaits.
    pub(super) fn in_threads(self, count: Option<usize>) -> Factory {
        let make: Factory = Arc::new(move || self.make());
        let Some(count) = count else { return make };
        let is_said = Once::new();
        Arc::new(move || {
            let app = make();
            if !app.needs_runtime() {
                return Box::new(Threads::around(app, count, make.clone()));
            }
            is_said.call_once(|| {
                say_patiently(
                    Level::Warn,
                    format_args!("ringway: --threads {count} is ignored: the application awaits"),
                );
            });
            app
        })
    }

    /// An instance for one worker.
    fn make(&self) -> Box<dyn Application> {
        match self {
            Choice::One(served) => Box::new(Named::new(served.name.as_str(), (served.make)())),
            Choice::Mounted(mounts) => Box::new(
                mounts
                    .iter()
                    .fold(Mounts::new(), |built, (prefix, served)| built.mount(prefix, &served.name, (served.make)())),
            ),
        }
    }
}

impl<'a> Names<'a> {
    /// What was typed. Where that is nothing, a lone linked application needs no name.
    pub(super) fn new(
        app: Option<&'a str>,
        mounts: &'a [(String, String)],
        apps: &Apps,
        interface: Interface,
    ) -> Names<'a> {
        let lone = match &apps[..] {
            [lone] if mounts.is_empty() && interface != Interface::Wsgi => Some(lone.name),
            _ => None,
        };
        Names { app: app.or(lone), mounts }
    }

    /// Whether there is nothing to serve.
    pub(super) fn is_empty(&self) -> bool {
        self.app.is_none() && self.mounts.is_empty()
    }

    /// Whether one of them can only be a Python application.
    pub(super) fn are_python(&self, apps: &Apps, interface: Interface) -> bool {
        let is_linked = |name: &str| apps.iter().any(|linked| linked.name == name);
        let mut names = self.app.into_iter().chain(self.mounts.iter().map(|(_, name)| name.as_str()));
        python::IS_SERVED
            && match interface {
                Interface::Wsgi => !self.is_empty(),
                Interface::Auto => names.any(|name| !is_linked(name)),
                Interface::Linked => false,
            }
    }

    /// As the banner shows them: `hello:app`, or `/api=echo:app /=hello:app`.
    pub(super) fn shown(&self) -> String {
        let mounts = self.mounts.iter().map(|(prefix, name)| format!("{prefix}={name}"));
        match self.app {
            Some(app) if self.mounts.is_empty() => app.to_string(),
            _ => mounts.chain(self.app.map(|app| format!("/={app}"))).collect::<Vec<_>>().join(" "),
        }
    }
}

/// Finds what is to be served; an application beside mounts is mounted at `/`.
///
/// # Errors
/// The lines about a name that is no application.
pub(super) fn choose(
    apps: &Apps,
    names: &Names<'_>,
    flags: &PythonFlags,
    surroundings: Surroundings,
) -> Result<Choice, NotFound> {
    let Names { app, mounts } = *names;
    let find = |name| find(apps, name, flags, surroundings);
    let root = app.map(find).transpose()?;
    if let (Some(root), true) = (&root, mounts.is_empty()) {
        return Ok(Choice::One(root.clone()));
    }
    let mut chosen = Vec::new();
    for (prefix, name) in mounts {
        chosen.push((prefix.clone(), find(name)?));
    }
    chosen.extend(root.map(|served| ("/".to_string(), served)));
    Ok(Choice::Mounted(chosen))
}

/// A linked application wins over a Python one of the same name, unless the interface was named.
fn find(apps: &Apps, name: &str, flags: &PythonFlags, surroundings: Surroundings) -> Result<Served, NotFound> {
    if flags.interface != Interface::Wsgi
        && let Some(linked) = apps.iter().find(|linked| linked.name == name)
    {
        return Ok(Served { name: name.to_string(), make: Arc::new(linked.make) });
    }
    let near = near(apps, name);
    let hint = match near.len() {
        0 => String::new(),
        _ => format!(" Did you mean {}?", near.join(" or ")),
    };
    let unknown = format!("No application `{name}` is linked.{hint} See `ringway apps`.");
    match flags.interface {
        Interface::Linked => Err(NotFound(vec![format!("ringway: {unknown}")])),
        Interface::Auto | Interface::Wsgi => python::find(name, flags, surroundings, unknown),
    }
}

/// The names of the same module or callable, or few typing errors away, nearest first.
fn near(apps: &Apps, name: &str) -> Vec<&'static str> {
    let (module, _) = name.split_once(':').unwrap_or((name, ""));
    let mut near: Vec<_> = apps
        .iter()
        .filter_map(|linked| {
            let distance = distance(linked.name, name);
            let is_near = distance <= 1 + name.len() / 6 || linked.name.split(':').next() == Some(module);
            is_near.then_some((distance, linked.name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).take(NEAR_COUNT_MAX).collect()
}

/// How many characters must be put in, taken out or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, character) in one.chars().enumerate() {
        let mut diagonal = index;
        row[0] = index + 1;
        for (column, against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(character != *against);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// More matches than this are no hint.
const NEAR_COUNT_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("helo", "hello", 1)] {
            assert_eq!(distance(one, other), expected);
            assert_eq!(distance(other, one), expected);
        }
    }

    #[test]
    fn a_lone_application_needs_no_name() {
        let lone = crate::apps! { "mine:app" => crate::apps::echo::app };
        let mounts = [("/".to_string(), "mine:app".to_string())];
        let app = |app, mounts, apps, interface| Names::new(app, mounts, apps, interface).app.map(String::from);
        assert_eq!(app(None, &[], &lone, Interface::Auto).as_deref(), Some("mine:app"));
        assert_eq!(app(Some("other:app"), &[], &lone, Interface::Auto).as_deref(), Some("other:app"));
        assert_eq!(app(None, &mounts, &lone, Interface::Auto), None);
        assert_eq!(app(None, &[], &lone, Interface::Wsgi), None);
        assert_eq!(app(None, &[], &crate::apps::bundled(), Interface::Auto), None);
    }

    #[test]
    fn near_names_are_found() {
        let apps = crate::apps::bundled();
        assert_eq!(near(&apps, "helo:app").first(), Some(&"hello:app"));
        assert_eq!(near(&apps, "hello"), ["hello:app", "hello:json"]);
        assert!(near(&apps, "quite:different").is_empty());
    }
}
