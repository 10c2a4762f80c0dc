//! A reader of the JSON that this server writes: numbers without exponents, strings without escapes.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(f64),
    Text(String),
    Truth(bool),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// What is at a path of names and indices: `workers.0.pid`.
    pub(crate) fn at(&self, path: &str) -> &Value {
        path.split('.').fold(self, |value, name| match value {
            Value::Map(entries) => entries.get(name).unwrap_or_else(|| panic!("no {name} of {path}")),
            Value::List(values) => &values[name.parse::<usize>().expect("a list has indices")],
            _ => panic!("nothing is in {value:?}: {path}"),
        })
    }

    pub(crate) fn number(&self, path: &str) -> f64 {
        match self.at(path) {
            Value::Number(number) => *number,
            other => panic!("{path} is {other:?}"),
        }
    }

    pub(crate) fn text(&self, path: &str) -> &str {
        match self.at(path) {
            Value::Text(text) => text,
            other => panic!("{path} is {other:?}"),
        }
    }
}

/// Reads the whole of a text.
pub(crate) fn read(text: &str) -> Value {
    let mut rest = text.trim_end();
    let value = value(&mut rest).unwrap_or_else(|| panic!("it is no JSON from `{rest}` on"));
    assert_eq!(rest, "", "something follows the value");
    value
}

fn value(rest: &mut &str) -> Option<Value> {
    match rest.chars().next()? {
        '{' => {
            let mut entries = BTreeMap::new();
            for entry in several(rest, '{', '}', |rest| {
                let name = text(rest)?;
                eat(rest, ':')?;
                Some((name, value(rest)?))
            })? {
                assert!(entries.insert(entry.0.clone(), entry.1).is_none(), "{} is there twice", entry.0);
            }
            Some(Value::Map(entries))
        }
        '[' => several(rest, '[', ']', value).map(Value::List),
        '"' => text(rest).map(Value::Text),
        't' => rest.strip_prefix("true").map(|after| *rest = after).map(|()| Value::Truth(true)),
        'f' => rest.strip_prefix("false").map(|after| *rest = after).map(|()| Value::Truth(false)),
        _ => {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number = rest[..end].parse().ok()?;
            *rest = &rest[end..];
            Some(Value::Number(number))
        }
    }
}

fn several<T>(rest: &mut &str, open: char, close: char, one: impl Fn(&mut &str) -> Option<T>) -> Option<Vec<T>> {
    eat(rest, open)?;
    let mut all = Vec::new();
    if eat(rest, close).is_some() {
        return Some(all);
    }
    loop {
        all.push(one(rest)?);
        if eat(rest, close).is_some() {
            return Some(all);
        }
        eat(rest, ',')?;
    }
}

fn text(rest: &mut &str) -> Option<String> {
    eat(rest, '"')?;
    let end = rest.find(['"', '\\'])?;
    let text = rest[..end].to_string();
    *rest = &rest[end..];
    eat(rest, '"').map(|()| text)
}

fn eat(rest: &mut &str, wanted: char) -> Option<()> {
    *rest = rest.strip_prefix(wanted)?;
    Some(())
}
