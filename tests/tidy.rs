//! The repository's own rules.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/prose.rs"]
mod prose;
#[path = "tidy/types.rs"]
mod types;

use imports::Crate;
use kdaemon_events::Kind;
use std::path::{Path, PathBuf};

/// Folders of the sources without tests.
const SOURCES: [&str; 6] = ["src", "api/src", "control/src", "events/src", "projections/src", "testing/src"];
/// Folders of the pure crates, which decide and fold.
const PURE: [&str; 3] = ["control/src", "events/src", "projections/src"];
/// Files that may exceed the limit of lines, with the reason.
const LONG: [(&str, &str); 0] = [];
const LINES_LIMIT: usize = 600;

struct Source {
    /// The path from the repository's root.
    path: String,
    text: String,
}

impl Source {
    /// The lines with their numbers, without comments and without a module of tests at the end.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests_at = self.text.find("#[cfg(test)]\nmod tests {").unwrap_or(self.text.len());
        self.text[..tests_at]
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(below)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root()).unwrap().display().to_string();
                found.push(Source { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "nothing below {below}");
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn all() -> impl Iterator<Item = Source> {
    SOURCES.into_iter().flat_map(sources)
}

#[track_caller]
fn none(rule: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{rule}:\n{}", breaches.join("\n"));
}

#[test]
fn pure_crates_use_no_clock_randomness_or_io() {
    // An address is a value: std::net::IpAddr may be parsed anywhere.
    let forbidden = [
        "tokio",
        "Utc::now",
        "Local::now",
        "SystemTime",
        "Instant",
        "std::fs",
        "File::",
        "TcpStream",
        "UdpSocket",
        "std::net::{",
        "std::process",
        "std::env",
        "std::thread",
        "new_v4",
        "now_v7",
        "rand::",
        "println!",
        "HashMap", // iterates in random order, unless its hasher has no random key
        "HashSet",
    ];
    let mut breaches = Vec::new();
    for source in PURE.into_iter().flat_map(sources) {
        for (number, line) in source.code() {
            let is_ordered = line.contains("FixedState");
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                if *word == "HashMap" && is_ordered {
                    continue;
                }
                breaches.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    none("pure crates take time, randomness and I/O as arguments", &breaches);
}

#[test]
fn command_line_is_a_client_of_the_api_only() {
    let mut breaches = Vec::new();
    for source in sources("src/cli").into_iter().filter(|source| !source.path.starts_with("src/cli/local")) {
        for (number, line) in source.code() {
            let ours = line.split("crate::").nth(1).unwrap_or_default();
            // Texts and arguments are parsed alike everywhere; the daemon's state comes from the API.
            let is_allowed = ["cli::", "config::parse_duration", "config::ServeArgs", "http_client::"];
            let knows_more =
                line.contains("crate::") && !is_allowed.iter().any(|allowed| ours.starts_with(allowed));
            if knows_more || line.contains("kdaemon_projections") {
                breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none("ask the API", &breaches);
}

#[test]
fn only_the_api_crate_and_the_server_describe_schemas() {
    let mut breaches = Vec::new();
    for source in all() {
        if source.path.starts_with("api/src") || source.path.starts_with("src/server") {
            continue;
        }
        for (number, line) in source.code().filter(|(_, line)| line.contains("utoipa")) {
            breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    none("OpenAPI belongs to what travels over HTTP", &breaches);
}

#[test]
fn pure_crates_depend_on_no_io_crate() {
    for manifest in ["control/Cargo.toml", "events/Cargo.toml", "projections/Cargo.toml"] {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        let dependencies = text.split("[dev-dependencies]").next().unwrap();
        let allowed = [
            "kdaemon-events",
            "kdaemon-projections",
            "blake3",
            "chrono",
            "foldhash",
            "imbl",
            "postcard",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "uuid",
        ];
        let (_, dependencies) = dependencies.split_once("[dependencies]").unwrap();
        for line in dependencies.lines().filter(|line| !line.trim().is_empty()) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&name), "{manifest} depends on {name}");
        }
    }
}

#[test]
fn unwraps_have_a_proof() {
    // A comment that says why it "cannot fail", in the same or the line before, is the proof.
    let mut breaches = Vec::new();
    for source in all().filter(|source| !source.is_test()) {
        let lines: Vec<_> = source.text.lines().collect();
        for (number, line) in source.code() {
            let unwraps = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("];
            if unwraps.iter().any(|unwrap| line.contains(unwrap)) {
                let near = &lines[number.saturating_sub(2)..number];
                if !near.iter().any(|line| line.contains("//") && line.contains("cannot fail")) {
                    breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
                }
            }
        }
    }
    none("handle it, or prove in a comment that it cannot fail", &breaches);
}

#[test]
fn files_stay_below_the_line_limit() {
    let mut breaches = Vec::new();
    for source in all() {
        let lines = source.text.lines().count();
        if lines >= LINES_LIMIT && !LONG.iter().any(|(path, _)| *path == source.path) {
            breaches.push(format!("{}: {lines} lines", source.path));
        }
    }
    none("files of 600 lines and more hold two concepts (or are listed here, with the reason)", &breaches);
    for (path, _) in LONG {
        let lines = std::fs::read_to_string(root().join(path)).unwrap().lines().count();
        assert!(lines >= LINES_LIMIT, "{path} is short enough now: take it off the list");
    }
}

#[test]
fn files_begin_with_a_description() {
    let mut breaches = Vec::new();
    for source in all().filter(|source| !source.is_test()) {
        if !source.text.starts_with("//!") && !source.text.starts_with("#![doc") {
            breaches.push(source.path);
        }
    }
    none("a file begins with a line on what it is", &breaches);
}

#[test]
fn events_and_their_fields_are_documented() {
    let files = sources("events/src");
    for kind in Kind::ALL {
        let declaration = format!("pub struct {kind} {{");
        let found = files.iter().find_map(|file| {
            let lines: Vec<_> = file.text.lines().map(str::trim).collect();
            lines
                .iter()
                .position(|line| *line == declaration)
                .map(|at| (file.path.clone(), lines[..at].join("\n"), lines[at..].join("\n")))
        });
        let Some((path, before, after)) = found else { panic!("{kind} has no struct of its name") };
        let documented = |text: &str| {
            let lines = text.lines().rev().skip_while(|line| line.starts_with("#["));
            lines.take_while(|line| line.starts_with("/// ")).map(str::len).sum::<usize>() > 12
        };
        assert!(documented(&before), "{path}: {kind} has no line on what happened");
        let body = after.split_once("\n}").unwrap().0;
        for (at, _) in body.match_indices("\npub ") {
            assert!(documented(&body[..at]), "{path}: a field of {kind} has no line on what it is");
        }
    }
}

#[test]
fn kinds_are_past_tense_facts() {
    for kind in Kind::ALL {
        let name = kind.as_str();
        let past = ["ed", "Lost", "Healthy", "Unhealthy", "Unschedulable", "Ready", "RolledBack"]
            .iter()
            .any(|end| name.ends_with(end));
        assert!(past, "{name} is not in the past tense");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()) && name.starts_with(char::is_uppercase));
        assert!(kind.version() >= 1);
        assert_eq!(name.parse::<Kind>().unwrap(), *kind);
    }
}

#[test]
fn core_tests_never_sleep() {
    let mut breaches = Vec::new();
    for source in ["control/tests/commands", "tests/store", "tests/journal"].into_iter().flat_map(sources) {
        for (number, line) in source.code().filter(|(_, line)| line.contains("sleep(")) {
            breaches.push(format!("{}:{number}: {}", source.path, line.trim()));
        }
    }
    none("wait for what is to happen, with a deadline", &breaches);
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(text.contains("unsafe_code = \"forbid\""));
    for manifest in [
        "Cargo.toml",
        "api/Cargo.toml",
        "control/Cargo.toml",
        "events/Cargo.toml",
        "projections/Cargo.toml",
        "testing/Cargo.toml",
    ] {
        let text = std::fs::read_to_string(root().join(manifest)).unwrap();
        assert!(text.contains("[lints]\nworkspace = true"), "{manifest} does not take the workspace's lints");
    }
    assert!(Path::new(&root()).join("rustfmt.toml").exists());
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let mut found = Vec::new();
    for root in SOURCES {
        let files = sources(root);
        let pairs = files.iter().map(|file| (file.path.as_str(), file.text.as_str()));
        let imports = Crate::new(root, pairs).imports();
        found.extend(imports::cycles(&imports).iter().map(|cycle| cycle.join(" -> ")));
    }
    none("move what both need into a file of its own", &found);
}

#[test]
fn every_break_of_the_simulation_applies_to_the_sources() {
    let folder = root().join("tests/simulation/breaks");
    let mut breaches = Vec::new();
    let mut hunks = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let patch = entry.unwrap().path();
        let text = std::fs::read_to_string(&patch).unwrap();
        let name = patch.file_name().unwrap().to_string_lossy().into_owned();
        for file in text.split("diff --git ").skip(1) {
            let path = file.lines().find_map(|line| line.strip_prefix("--- a/")).unwrap();
            let source = std::fs::read_to_string(root().join(path)).unwrap_or_default();
            for hunk in file.split("\n@@ ").skip(1) {
                let lines = hunk.lines().skip(1).filter(|line| !line.starts_with('+'));
                let before: String =
                    lines.map(|line| format!("{}\n", line.get(1..).unwrap_or_default())).collect();
                hunks += 1;
                if !source.contains(&before) {
                    breaches.push(format!("{name}: {path}"));
                }
            }
        }
    }
    assert!(hunks >= 13, "{hunks} hunks");
    none("make the patch again (see tests/simulation/README.md)", &breaches);
}
