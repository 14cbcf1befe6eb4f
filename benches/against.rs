//! Old against new: this bench program and that of another revision, run in turn, so that a machine whose speed changes
//! slows both. An even number of rounds is fair.

use crate::figures::{Limit, Table, Value, median_number, progress};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The limits of a new value relative to the old one: durations and sizes may grow, and rates fall, by 5 %.
const AT_MOST: f64 = 1.05;
const AT_LEAST: f64 = 0.95;

/// Measurements of one program: by the name of the figure, one value per round.
#[derive(Default)]
struct Measured {
    values: BTreeMap<String, Vec<Value>>,
    /// The names as printed, in order.
    names: Vec<String>,
}

/// Runs the benches `names` of `old` (a bench program) and of this one, `rounds` times in turn, and enters each figure of
/// this one with its ratio to the old one.
pub(crate) fn run(table: &mut Table, old: &Path, rounds: usize, names: &[String]) {
    let new = std::env::current_exe().expect("the path of this program");
    let (mut before, mut after) = (Measured::default(), Measured::default());
    for round in 1..=rounds {
        let mut turns = [(old, "old", &mut before), (new.as_path(), "new", &mut after)];
        // The second one finds a disk that is still busy with what the first one wrote: 8 % fewer commands, measured
        // with one program on both sides. So each is first every other time.
        if round % 2 == 0 {
            turns.reverse();
        }
        for (program, what, measured) in turns {
            progress(&format!("against: round {round} of {rounds}: {what}"));
            measure(program, names, measured);
        }
    }
    table.begin("against", "medians of the new revision, compared with the old one's");
    for name in &after.names {
        let key = key(name);
        let (Some(old), Some(new)) = (before.values.get(&key), after.values.get(&key)) else {
            table.note(name, "only new");
            continue;
        };
        let (old, new) = (median(old), median(new));
        let limit = match new {
            Value::PerSecond(_) => Limit::RatioAtLeast("old", old, AT_LEAST),
            Value::Time(_) | Value::Bytes(_) => Limit::RatioAtMost("old", old, AT_MOST),
        };
        table.figure(name, new, limit);
    }
    for name in before.names.iter().filter(|name| !after.values.contains_key(&key(name))) {
        table.note(name, "only old");
    }
}

fn measure(program: &Path, names: &[String], measured: &mut Measured) {
    let mut child =
        Command::new(program).args(names).stdout(Stdio::piped()).spawn().expect("the bench program starts");
    let lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
    for line in lines.map_while(Result::ok) {
        let Some((name, value)) = read(&line) else { continue };
        let values = measured.values.entry(key(&name)).or_default();
        if values.is_empty() {
            measured.names.push(name);
        }
        values.push(value);
    }
    let status = child.wait().expect("the bench program ends");
    assert!(status.success(), "{} failed: {status}", program.display());
}

/// Name and value of a printed line, or `None` when it holds no figure: the first value that three spaces or the end of
/// the line follow.
fn read(line: &str) -> Option<(String, Value)> {
    let words: Vec<&str> = line.split(' ').collect();
    (1..words.len()).find_map(|index| {
        let rate =
            words[index].strip_suffix("/s").and_then(|number| number.parse().ok()).map(Value::PerSecond);
        let (value, next) = match rate {
            Some(rate) => (rate, index + 1),
            None => (quantity(words[index], words.get(index + 1)?)?, index + 2),
        };
        let is_column = words[next..].iter().take(2).all(|word| word.is_empty());
        is_column.then(|| (words[..index].join(" ").trim_end().to_owned(), value))
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a printed size is positive and small
fn quantity(number: &str, unit: &str) -> Option<Value> {
    let number: f64 = number.parse().ok()?;
    let time = |seconds: f64| Duration::try_from_secs_f64(seconds).ok().map(Value::Time);
    match unit {
        "s" => time(number),
        "ms" => time(number / 1_000.0),
        "us" => time(number / 1_000_000.0),
        "MB" => Some(Value::Bytes((number * 1_000_000.0) as u64)),
        _ => None,
    }
}

/// The name without what differs between runs: numbers, and remarks in parentheses.
fn key(name: &str) -> String {
    let mut key = String::new();
    let mut depth = 0_usize;
    for character in name.trim().chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            digit if digit.is_ascii_digit() => {}
            other if depth == 0 => key.push(other),
            _ => {}
        }
    }
    key.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn median(values: &[Value]) -> Value {
    let number = median_number(&values.iter().map(|value| value.number()).collect::<Vec<_>>());
    values
        .iter()
        .copied()
        .find(|value| value.number().total_cmp(&number).is_eq())
        .expect("the median is one of the values")
}
