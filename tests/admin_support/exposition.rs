//! A strict reader of the text format 0.0.4 of Prometheus, with the rules of `promtool check metrics`.

use std::collections::{BTreeMap, BTreeSet};

/// Values by name and labels, as `name{a="b"}`.
pub(crate) type Samples = BTreeMap<String, f64>;

/// A sample's name, its labels, its value.
type Sample = (String, Vec<(String, String)>, f64);

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    samples: Vec<Sample>,
}

/// Reads the text. The error says which line is wrong and why.
pub(crate) fn check(text: &str) -> Result<Samples, String> {
    if !text.ends_with('\n') || text.contains('\r') {
        return Err("lines end with a newline, the last one too".into());
    }
    let mut samples = Samples::new();
    let mut seen = BTreeSet::new();
    let mut families: Vec<Family> = Vec::new();
    let mut helped = String::new();
    for line in text.lines() {
        let wrong = |why: &str| Err(format!("`{line}`: {why}"));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let Some((name, help)) = rest.split_once(' ') else { return wrong("no help") };
            if !is_name(name) || help.trim() != help || !help.ends_with('.') || help.contains('\\') {
                return wrong("a help is a sentence about a name");
            }
            if !seen.insert(name.to_string()) {
                return wrong("a family is begun once");
            }
            helped = name.to_string();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else { return wrong("no type") };
            if name != helped || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("a type follows the help of its family");
            }
            families.push(Family { name: name.into(), kind: kind.into(), samples: Vec::new() });
        } else {
            let sample = sample(line).ok_or(format!("`{line}`: it is no sample"))?;
            let Some(family) = families.last_mut() else { return wrong("it is in no family") };
            let suffix = sample.0.strip_prefix(family.name.as_str()).unwrap_or("?");
            let suffixes: &[&str] = if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            if !suffixes.contains(&suffix) {
                return wrong("it is not of the family above it");
            }
            let key = line.rsplit_once(' ').map_or(line, |(key, _)| key).to_string();
            if samples.insert(key, sample.2).is_some() {
                return wrong("it is there twice");
            }
            family.samples.push(sample);
        }
    }
    for family in &families {
        judge(family).map_err(|why| format!("{}: {why}", family.name))?;
    }
    Ok(samples)
}

fn sample(line: &str) -> Option<Sample> {
    let (key, value) = line.rsplit_once(' ')?;
    let value: f64 = value.parse().ok().filter(|value: &f64| value.is_finite())?;
    let Some((name, labels)) = key.split_once('{') else {
        return is_name(key).then(|| (key.to_string(), Vec::new(), value));
    };
    let mut all = Vec::new();
    for pair in labels.strip_suffix('}')?.split(',') {
        let (label, text) = pair.split_once('=')?;
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        if !is_name(label) || label.contains(':') || text.contains(['"', '\\', '{', '}']) {
            return None;
        }
        all.push((label.to_string(), text.to_string()));
    }
    is_name(name).then(|| (name.to_string(), all, value))
}

fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

/// What promtool's linter wants of names, units and kinds.
fn judge(family: &Family) -> Result<(), String> {
    let Family { name, kind, samples } = family;
    if !name.starts_with("ringway_") || *name != name.to_lowercase() {
        return Err("a name is small and begins with that of the program".into());
    }
    if (kind == "counter") != name.ends_with("_total") {
        return Err("a counter's name, and no other, ends in _total".into());
    }
    let parts: Vec<_> = name.split('_').collect();
    let foreign = ["milliseconds", "ms", "us", "ns", "minutes", "kilobytes", "kb", "mb", "percent", "counter", "gauge"];
    if parts.iter().any(|part| foreign.contains(part)) {
        return Err("units are base units, and a name does not say its type".into());
    }
    for (word, unit) in [("time", "seconds"), ("duration", "seconds"), ("received", "bytes"), ("sent", "bytes")] {
        if parts.contains(&word) && !parts.contains(&unit) {
            return Err(format!("{word} is said in {unit}"));
        }
    }
    let labels_of = |sample: &Sample| sample.1.iter().map(|(label, _)| label.clone()).collect::<Vec<_>>();
    if kind != "histogram" && samples.iter().any(|one| labels_of(one) != labels_of(&samples[0])) {
        return Err("its samples have different labels".into());
    }
    if kind != "histogram" && samples.iter().any(|one| labels_of(one).contains(&"le".to_string())) {
        return Err("`le` belongs to histograms".into());
    }
    if samples.iter().any(|one| one.2 < 0.0) {
        return Err("nothing here is negative".into());
    }
    if kind == "histogram" { judge_histogram(family) } else { Ok(()) }
}

fn judge_histogram(family: &Family) -> Result<(), String> {
    let bound = |text: &str| if text == "+Inf" { Ok(f64::INFINITY) } else { text.parse::<f64>() };
    let mut buckets = Vec::new();
    for (name, labels, value) in &family.samples {
        if name.ends_with("_bucket") {
            let [(label, text)] = labels.as_slice() else { return Err("a bucket has one label".into()) };
            let bound = bound(text).map_err(|_| format!("`{text}` is no bound"))?;
            if label != "le" || value.fract() != 0.0 {
                return Err("a bucket counts up to a bound".into());
            }
            buckets.push((bound, *value));
        }
    }
    if !buckets.is_sorted_by(|one, next| one.0 < next.0 && one.1 <= next.1) {
        return Err("buckets are in order, each with those below it".into());
    }
    let of = |suffix: &str| family.samples.iter().filter(|one| one.0.ends_with(suffix)).map(|one| one.2).collect();
    let (sums, counts): (Vec<f64>, Vec<f64>) = (of("_sum"), of("_count"));
    match (buckets.last(), sums.as_slice(), counts.as_slice()) {
        (Some((bound, all)), [_], [count]) if bound.is_infinite() && all == count => Ok(()),
        _ => Err("the last bucket has no bound, and there are one sum and one count, which is the same".into()),
    }
}

#[test]
fn what_is_wrong_is_found() {
    let good = "# HELP ringway_a_total Some.\n# TYPE ringway_a_total counter\nringway_a_total{b=\"c\"} 1\n";
    assert!(check(good).is_ok());
    let histogram = "# HELP ringway_t_seconds Some.\n# TYPE ringway_t_seconds histogram\n\
                     ringway_t_seconds_bucket{le=\"1\"} 2\nringway_t_seconds_bucket{le=\"+Inf\"} 3\n\
                     ringway_t_seconds_sum 0.5\nringway_t_seconds_count 3\n";
    assert!(check(histogram).is_ok(), "{:?}", check(histogram));
    for (from, to) in [
        ("} 1", "} one"),
        ("{b=\"c\"}", "{b=c}"),
        ("{b=\"c\"}", "{1=\"c\"}"),
        ("{b=\"c\"} 1\n", "{b=\"c\"} 1\nringway_a_total{b=\"c\"} 2\n"),
        ("{b=\"c\"} 1\n", "{b=\"c\"} 1\nringway_a_total{d=\"c\"} 2\n"),
        ("counter", "gauge"),
        ("counter", "thing"),
        ("# HELP ringway_a_total Some.\n", ""),
        ("ringway_a_total{", "ringway_b_total{"),
        ("1\n", "1"),
        ("1\n", "-1\n"),
    ] {
        assert!(check(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
    for (from, to) in [
        ("\"1\"} 2", "\"1\"} 4"),
        ("_count 3", "_count 2"),
        ("+Inf", "0.5"),
        ("le=\"1\"", "lt=\"1\""),
        ("ringway_t_seconds_sum 0.5\n", ""),
    ] {
        assert!(check(&histogram.replacen(from, to, 1)).is_err(), "{from} → {to}");
    }
    assert!(check(&histogram.replace("_t_seconds", "_t_ms")).is_err());
    assert!(check(&[good, good].concat()).is_err());
}
