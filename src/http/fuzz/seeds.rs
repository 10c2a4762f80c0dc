//! What the clients of `tests/wire/` send, for the replay in the unit tests. `scripts/fuzz` reads the same
//! files for the corpora.

use std::path::Path;

/// The bytes of every case, in one piece each.
pub(crate) fn wire_cases() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut cases: Vec<Vec<u8>> = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the case files are in the package") {
        let path = entry.expect("the directory can be read").path();
        if path.extension().is_none_or(|extension| extension != "http") {
            continue;
        }
        for line in std::fs::read_to_string(path).expect("a case file is ASCII").lines() {
            if line.starts_with("case:") {
                cases.push(Vec::new());
            } else if let Some(sent) = line.strip_prefix('>').filter(|sent| *sent != "fin") {
                let (count, text) = match sent.strip_prefix('*') {
                    Some(repeated) => repeated.split_once(' ').expect("a count ends in a space"),
                    None => ("1", sent.strip_prefix("once").unwrap_or(sent).trim_start()),
                };
                let bytes = decode(text).repeat(count.parse().expect("a count is a number"));
                cases.last_mut().expect("bytes come under a case").extend(bytes);
            }
        }
    }
    cases.retain(|case| case.len() < 100_000);
    assert!(cases.len() > 100, "the cases are found");
    cases
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(byte) = rest.bytes().next() {
        let size = match rest.as_bytes() {
            [b'\\', b'x', ..] => 4,
            [b'\\', ..] => 2,
            _ => 1,
        };
        bytes.push(match rest.get(..size).expect("a case file is well formed") {
            r"\r" => b'\r',
            r"\n" => b'\n',
            r"\t" => b'\t',
            r"\0" => 0,
            r"\\" => b'\\',
            escape if size == 4 => u8::from_str_radix(&escape[2..], 16).expect("two hexadecimal digits"),
            _ => byte,
        });
        rest = &rest[size..];
    }
    bytes
}
