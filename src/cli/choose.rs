//! From the names that the operator typed to the applications that are served.

use crate::app::{Application, Apps, Linked, Mounts, Named};

/// What is to be served.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// One application for every path.
    One(Linked),
    /// Several, each below its prefix.
    Mounted(Vec<(String, Linked)>),
}

impl Choice {
    /// An instance for one worker.
    pub(super) fn make(&self) -> Box<dyn Application> {
        match self {
            Choice::One(linked) => Box::new(Named::new(linked.name, (linked.make)())),
            Choice::Mounted(mounts) => Box::new(
                mounts
                    .iter()
                    .fold(Mounts::new(), |built, (prefix, linked)| built.mount(prefix, linked.name, (linked.make)())),
            ),
        }
    }

    /// As the banner shows it: `hello:app`, or `/api=echo:app /=hello:app`.
    pub(super) fn shown(&self) -> String {
        match self {
            Choice::One(linked) => linked.name.to_string(),
            Choice::Mounted(mounts) => {
                let mounts: Vec<_> =
                    mounts.iter().map(|(prefix, linked)| format!("{prefix}={}", linked.name)).collect();
                mounts.join(" ")
            }
        }
    }
}

/// Finds what is to be served; an application beside mounts is mounted at `/`. `None` where nothing was named.
///
/// # Errors
/// The lines about a name that is not linked.
pub(super) fn choose(apps: &Apps, app: Option<&str>, mounts: &[(String, String)]) -> Result<Option<Choice>, String> {
    let root = app.map(|name| find(apps, name)).transpose()?;
    if mounts.is_empty() {
        return Ok(root.map(Choice::One));
    }
    let mut chosen = Vec::new();
    for (prefix, name) in mounts {
        chosen.push((prefix.clone(), find(apps, name)?));
    }
    chosen.extend(root.map(|linked| ("/".to_string(), linked)));
    Ok(Some(Choice::Mounted(chosen)))
}

fn find(apps: &Apps, name: &str) -> Result<Linked, String> {
    if let Some(linked) = apps.iter().find(|linked| linked.name == name) {
        return Ok(linked.clone());
    }
    let near = near(apps, name);
    let hint = match near.len() {
        0 => String::new(),
        _ => format!(" Did you mean {}?", near.join(" or ")),
    };
    Err(format!("No application `{name}` is linked.{hint} See `ringway apps`."))
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
    fn near_names_are_found() {
        let apps = crate::apps::bundled();
        assert_eq!(near(&apps, "helo:app").first(), Some(&"hello:app"));
        assert_eq!(near(&apps, "hello"), ["hello:app", "hello:json"]);
        assert!(near(&apps, "quite:different").is_empty());
    }
}
