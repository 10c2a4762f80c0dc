//! The house rules as a test: sizes of files and functions, the import law, where `unsafe` may stand, words
//! that stay out, and a module doc at the top of every file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Lines of a file of `src` without its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a function, from its signature to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The layers of docs/ARCHITECTURE.md, lowest first. A module imports from its own layer and from below.
const LAYERS: &[&[&str]] = &[
    &["buffer", "spool", "slab", "timer", "stats", "sys", "driver", "diagnostics", "log_writer", "json"],
    &["http", "inbound", "outbound"],
    &["environ", "response"],
    &["app", "apps", "tower", "wsgi"],
    &["connection"],
    &["worker", "host"],
    &["server", "config", "admin"],
    &["cli", "main"],
];

/// Where `unsafe` may stand; a file, or a directory with all that is in it.
const UNSAFE: &[&str] = &["sys", "buffer", "driver/uring", "driver/epoll", "host", "wsgi"];

/// Words for things that have a name of their own in the field.
const BANNED: &[&str] = &["manager", "helper", "utils", "common", "ctx", "do_", "process_"];

struct Source {
    /// The path below `src`, without `.rs`.
    name: String,
    /// The lines before `#[cfg(test)]`.
    lines: Vec<String>,
}

fn sources() -> Vec<Source> {
    let root = Path::new(ROOT).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    assert!(paths.len() > 20, "the sources are found");
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source is text");
            let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let name = path.strip_prefix(&root).expect("it lies in src").with_extension("");
            Source { name: name.to_string_lossy().into_owned(), lines: code.lines().map(String::from).collect() }
        })
        .collect()
}

fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn fail_with(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    for Source { name, lines } in sources() {
        if lines.len() > FILE_LINES_MAX {
            faults.push(format!("src/{name}.rs has {} lines, {FILE_LINES_MAX} are allowed", lines.len()));
        }
        if !lines.first().is_some_and(|line| line.starts_with("//! ")) {
            faults.push(format!("src/{name}.rs does not begin with a module doc"));
        }
    }
    fail_with(faults);
}

#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for Source { name, lines } in sources() {
        let mut open: Option<(usize, usize, &str)> = None;
        for (number, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let code = line.trim_start();
            let is_start =
                ["fn ", "pub fn ", "unsafe fn ", "const fn ", "pub const fn ", "pub(crate) fn ", "pub(super) fn "]
                    .iter()
                    .any(|start| code.starts_with(start));
            if open.is_none() && is_start && !code.ends_with(';') {
                open = Some((number, indent, code));
            }
            if let Some((start, depth, signature)) = open
                && indent == depth
                && (code == "}" || (number == start && code.ends_with('}')) || code.ends_with(';'))
            {
                let size = number - start + 1;
                if size > FUNCTION_LINES_MAX {
                    faults.push(format!("src/{name}.rs:{}: `{signature}` has {size} lines", start + 1));
                }
                open = None;
            }
        }
    }
    fail_with(faults);
}

#[test]
fn imports_point_down() {
    let layer_of = |module: &str| LAYERS.iter().position(|layer| layer.contains(&module));
    let mut faults = Vec::new();
    for Source { name, lines } in sources().into_iter().filter(|source| source.name != "lib") {
        let module = name.split('/').next().unwrap_or_default();
        let Some(own) = layer_of(module) else {
            faults.push(format!("src/{name}.rs: the module `{module}` is in no layer"));
            continue;
        };
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for path in line.split("crate::").skip(1) {
                let target: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                match layer_of(&target) {
                    Some(layer) if layer > own => {
                        faults.push(format!("src/{name}.rs:{}: `{module}` imports `{target}` from above", number + 1));
                    }
                    Some(_) | None => {}
                }
            }
        }
    }
    fail_with(faults);
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut faults = Vec::new();
    for Source { name, lines } in sources() {
        let is_allowed = UNSAFE.iter().any(|place| name == *place || name.starts_with(&format!("{place}/")));
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let has_unsafe = code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            if has_unsafe && !is_allowed {
                faults.push(format!("src/{name}.rs:{}: unsafe may not stand here", number + 1));
            }
            if code.contains("transmute") {
                faults.push(format!("src/{name}.rs:{}: transmute", number + 1));
            }
        }
    }
    fail_with(faults);
}

/// What goes to stderr passes the diagnostics, which wait for nobody. The usage of the command line is clap's to print.
#[test]
fn nothing_but_the_diagnostics_writes_to_stderr() {
    let mut faults = Vec::new();
    for Source { name, lines } in sources().into_iter().filter(|source| source.name != "diagnostics") {
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for way in ["eprintln!", "eprint!", "stderr()", "STDERR_FILENO"] {
                // What clap asks of its own error is where that belongs.
                if code.contains(way) && !code.contains("use_stderr()") {
                    faults.push(format!("src/{name}.rs:{}: {way}", number + 1));
                }
            }
        }
    }
    fail_with(faults);
}

/// The runtime is the host's alone: no type of it, nor of the io-uring that tokio-uring brings, reaches what is below.
#[test]
fn the_runtime_stays_with_the_host() {
    let mut faults = Vec::new();
    for Source { name, lines } in sources().into_iter().filter(|source| source.name != "host") {
        for (number, line) in lines.iter().enumerate() {
            if line.split("//").next().unwrap_or_default().contains("tokio") {
                faults.push(format!("src/{name}.rs:{}: tokio", number + 1));
            }
        }
    }
    fail_with(faults);
}

#[test]
fn a_build_without_features_has_nothing_asynchronous() {
    let tree = "tree --package ringway --locked --offline --no-default-features --edges normal --prefix none";
    let output =
        Command::new(env!("CARGO")).args(tree.split(' ')).current_dir(ROOT).output().expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it is text");
    let crates: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains(&"io-uring") && crates.contains(&"httparse"), "{crates:?}");
    let others = ["tokio", "tokio-uring", "mio", "http", "http-body", "tower-service", "bytes", "clap", "mimalloc"];
    let found: Vec<_> = others.iter().filter(|name| crates.contains(name)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn names_use_the_words_of_the_field() {
    let mut faults = Vec::new();
    for Source { name, lines } in sources() {
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
                let is_banned = BANNED.iter().any(|banned| match banned.strip_suffix('_') {
                    Some(_) => word.starts_with(banned),
                    None => word.split('_').any(|part| part == *banned),
                });
                if is_banned {
                    faults.push(format!("src/{name}.rs:{}: `{word}`", number + 1));
                }
            }
        }
    }
    fail_with(faults);
}

#[test]
fn nothing_is_left_undone() {
    // Put together here, so that this file does not find itself.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!"], ["unimplemented", "!"], ["dbg", "!"]];
    let marks: Vec<String> = marks.iter().map(|mark| mark.concat()).chain([["#[ig", "nore"].concat()]).collect();
    let mut faults = Vec::new();
    for directory in ["src", "tests", "benches", "examples"] {
        let mut paths = Vec::new();
        walk(&Path::new(ROOT).join(directory), &mut paths);
        for path in paths.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "target")) {
            let text = fs::read_to_string(path).expect("a source is text");
            for mark in marks.iter().filter(|mark| text.contains(mark.as_str())) {
                faults.push(format!("{}: {mark}", path.display()));
            }
        }
    }
    fail_with(faults);
}

#[test]
fn examples_stay_examples() {
    let frameworks = Path::new(ROOT).join("examples/frameworks");
    let mut paths = Vec::new();
    walk(&Path::new(ROOT).join("examples"), &mut paths);
    paths.retain(|path| !path.starts_with(frameworks.join("tests")));
    assert!(paths.len() >= 20);
    let mut faults = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("an example is text");
        // A framework's application is a whole one, and what puts it on a server is a page.
        let is_app = path.starts_with(&frameworks) && path.file_name().is_some_and(|name| name == "app.rs");
        let (count, most) = (text.lines().count(), if is_app { 150 } else { 60 });
        if count >= most {
            faults.push(format!("{} has {count} lines", path.display()));
        }
        if is_app && text.to_lowercase().contains("ringway") {
            faults.push(format!("{} knows of this server", path.display()));
        }
    }
    fail_with(faults);
}
