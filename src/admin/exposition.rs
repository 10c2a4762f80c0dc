//! The text format of Prometheus, version 0.0.4: families of samples, each with its help and its type.
//!
//! It knows the syntax; what is said is `metrics.rs`'s.

use std::fmt::{Display, Write};

/// A text under way.
#[derive(Default)]
pub(super) struct Exposition {
    text: String,
}

/// The samples of one name.
pub(super) struct Family<'e> {
    name: &'static str,
    text: &'e mut String,
}

/// What the samples of a family are.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Buckets, each with those below it; a sum; a count.
    Histogram,
}

impl Exposition {
    /// Begins a family. All its samples are said before the next begins.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string does not fail, here and below.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { name, text: &mut self.text }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// The one sample of a family without labels.
    pub(super) fn value(self, value: impl Display) {
        let _ = writeln!(self.text, "{} {value}", self.name);
    }

    /// A sample with its labels. Their values are names and numbers of ours, in which nothing needs an escape.
    pub(super) fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.suffixed("", labels, value);
    }

    /// A sample of a histogram, whose name has a suffix.
    pub(super) fn suffixed(&mut self, suffix: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        for (index, (name, label)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{label}\"");
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}
