//! Plain English: words to avoid in comments, strings, names of functions and documents, and how doc comments begin.

use super::{none, root};
use std::path::Path;

/// Folders and files that are checked, from the repository's root.
const CHECKED: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "api/src",
    "benches",
    "config",
    "control/src",
    "control/tests",
    "docs",
    "events/src",
    "projections/src",
    "scripts",
    "src/archive.rs",
    "src/cli",
    "src/config",
    "src/config.rs",
    "src/daemon.rs",
    "src/engine",
    "src/journal",
    "src/journal.rs",
    "src/latest.rs",
    "src/leader.rs",
    "src/main.rs",
    "src/past.rs",
    "src/proof.rs",
    "src/reactors",
    "src/rows.rs",
    "src/says",
    "src/server",
    "src/store",
    "src/ui",
    "src/verify.rs",
    "testing/src",
    "tests/api",
    "tests/cli",
    "tests/cluster",
    "tests/daemons",
    "tests/engine",
    "tests/journal",
    "tests/program",
    "tests/reactors",
    "tests/simulation",
    "tests/store",
    "tests/support",
    "tests/tidy",
    "tests/tidy.rs",
];

/// Words to avoid, and what to write instead.
const WORDS: &[(&str, &str)] = &[
    ("anew", "again, rebuild"),
    ("somebody", "the caller, a client, another process"),
    ("whoever", "the caller, anyone who"),
    ("nobody", "no one, no caller"),
    ("in vain", "without effect, failed, timed out"),
    ("for ever", "indefinitely, permanently"),
    ("beside", "next to, alongside, concurrently with"),
    ("behind", "after"),
    ("is told", "receives, is reported"),
    ("are told", "receive, are reported"),
    ("was told", "received, was reported"),
    ("were told", "received, were reported"),
    ("be told", "receive, be reported"),
    ("so many", "the number, the limit"),
    ("so long", "the duration"),
    ("those that", "the things by their name"),
    ("those of", "the things by their name"),
    ("those who", "the people by their role"),
    ("is to run", "is scheduled to run"),
    ("are to run", "are scheduled to run"),
    ("goes on", "continues"),
    ("go on", "continue"),
    ("sees to it", "ensures"),
];

/// Words that a doc comment does not begin with: it begins with a noun that names the thing, or with a verb.
const BEGINNINGS: [&str; 7] = ["It", "Its", "Those", "What", "Who", "Whoever", "Whose"];

/// Lines where a word is right: the file, and a part of the line.
const ALLOWED: &[(&str, &str)] = &[
    ("scripts/image", "nobody:x:65534:65534:nobody:/:/bin/sh"), // the system's user of that name
];

/// The texts of a source file with their line numbers: comments, strings, and the words of each function's name.
fn texts_of_source(source: &str) -> Vec<(usize, String)> {
    let mut texts = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some(first) = rest.chars().next() {
        let (length, is_text) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), true)
        } else if let Some(length) = string_length(rest) {
            (length, true)
        } else if first == '\'' {
            (character_length(rest), false)
        } else if first.is_alphanumeric() || first == '_' {
            (rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()), false)
        } else {
            (first.len_utf8(), false)
        };
        let (token, after) = rest.split_at(length);
        if is_text {
            texts.extend(token.lines().enumerate().map(|(index, text)| (line + index, text.to_owned())));
        } else if token == "fn" {
            let name = after.trim_start();
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            texts.push((line, name[..end].replace('_', " ")));
        }
        line += token.matches('\n').count();
        rest = after;
    }
    texts
}

/// The length in bytes of the string literal that `source` starts with, if it does.
fn string_length(source: &str) -> Option<usize> {
    let prefix = source.find(|c| c != 'r' && c != 'b' && c != 'c').filter(|prefix| *prefix <= 2)?;
    let hashes = source[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let body = prefix + hashes;
    if !source[body..].starts_with('"') || (hashes > 0 && prefix == 0) {
        return None;
    }
    let is_raw = source[..prefix].contains('r');
    let end = format!("\"{}", "#".repeat(hashes));
    let mut at = body + 1;
    while at < source.len() {
        if source[at..].starts_with(&end) {
            return Some(at + end.len());
        }
        let escaped = usize::from(!is_raw && source[at..].starts_with('\\'));
        at += escaped;
        at += source[at..].chars().next().map_or(1, char::len_utf8);
    }
    Some(source.len())
}

/// The length in bytes of the character literal or the quote of a lifetime that `source` starts with.
fn character_length(source: &str) -> usize {
    let mut characters = source.char_indices().skip(1);
    match characters.next() {
        Some((_, '\\')) => source[2..].find('\'').map_or(1, |at| {
            // The escaped character may itself be a quote.
            if at == 0 { 4 } else { at + 3 }
        }),
        Some(_) => match characters.next() {
            Some((at, '\'')) => at + 1,
            _ => 1,
        },
        None => 1,
    }
}

/// Whether a text contains a phrase as whole words.
fn contains(text: &str, phrase: &str) -> bool {
    let text = text.to_lowercase();
    let is_word = |c: char| c.is_alphanumeric();
    text.match_indices(phrase)
        .any(|(at, _)| !text[..at].ends_with(is_word) && !text[at + phrase.len()..].starts_with(is_word))
}

fn files(below: &Path) -> Vec<std::path::PathBuf> {
    if below.is_file() {
        return vec![below.to_owned()];
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(below).unwrap_or_else(|error| panic!("{}: {error}", below.display())) {
        found.extend(files(&entry.unwrap().path()));
    }
    found.sort();
    found
}

/// The checked files with their texts, by line.
fn texts() -> Vec<(String, Vec<(usize, String)>)> {
    let mut found = Vec::new();
    for path in CHECKED.iter().flat_map(|checked| files(&root().join(checked))) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        if path.extension().is_some_and(|extension| extension == "patch") {
            continue; // its context is a copy of sources
        }
        let Ok(content) = String::from_utf8(std::fs::read(&path).unwrap()) else { continue }; // a picture
        let texts = match path.extension().is_some_and(|extension| extension == "rs") {
            true => texts_of_source(&content),
            false => content.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect(),
        };
        found.push((name, texts));
    }
    found
}

#[test]
fn texts_are_written_in_plain_words() {
    let mut breaches = Vec::new();
    for (path, texts) in texts() {
        for (line, text) in texts {
            let is_allowed = ALLOWED.iter().any(|(allowed, part)| *allowed == path && text.contains(part));
            // A string of this file's own lists is without its parenthesis here.
            let is_list = path == "tests/tidy/prose.rs" && text.starts_with('"');
            if is_allowed || is_list {
                continue;
            }
            for (word, instead) in WORDS.iter().filter(|(word, _)| contains(&text, word)) {
                breaches.push(format!("{path}:{line}: `{word}` (write: {instead}): {}", text.trim()));
            }
        }
    }
    none("write what an engineer would say", &breaches);
}

#[test]
fn doc_comments_begin_with_a_noun_or_a_verb() {
    let mut breaches = Vec::new();
    for (path, texts) in texts().into_iter().filter(|(path, _)| path.ends_with(".rs")) {
        let mut last_line = 0;
        for (line, text) in texts {
            let Some(doc) = text.strip_prefix("///").or_else(|| text.strip_prefix("//!")) else { continue };
            let doc = doc.trim();
            let begins = last_line + 1 != line;
            last_line = if doc.is_empty() { 0 } else { line };
            let first = doc.split([' ', ',', ':']).next().unwrap_or_default();
            if begins && BEGINNINGS.contains(&first) {
                breaches.push(format!("{path}:{line}: {doc}"));
            }
        }
    }
    none("name the thing, or say what it does", &breaches);
}

#[test]
fn texts_of_a_source_are_its_comments_strings_and_function_names() {
    let source = "fn one_two() { // three\n  let a = \"four \\\" five\"; let b = r#\"six \" seven\"#;\n  \
                  let c = '\"'; let d = '\\''; let e: &'static str = \"eight\n nine\"; /* ten */ }";
    let texts: Vec<_> = texts_of_source(source);
    let expected = [
        (1, "one two"),
        (1, "// three"),
        (2, "\"four \\\" five\""),
        (2, "r#\"six \" seven\"#"),
        (3, "\"eight"),
        (4, " nine\""),
    ];
    assert_eq!(texts, expected.map(|(line, text)| (line, text.to_owned())));
    assert!(contains("It goes on, and on.", "goes on") && !contains("besides", "beside"));
}
