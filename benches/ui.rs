//! The web UI in Chromium: `ui.mjs` measures it under Node and prints one JSON object per figure.

use crate::figures::{Row, Table};
use serde::Deserialize;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Deserialize)]
struct Line {
    name: String,
    value: String,
    #[serde(default)]
    remark: String,
}

/// Runs `ui.mjs` and enters its figures.
pub(crate) fn run(table: &mut Table) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/ui.mjs");
    let mut child = match Command::new("node").arg(script).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => return table.skip(&format!("cannot run node: {error}")),
    };
    for line in BufReader::new(child.stdout.take().expect("its stdout")).lines() {
        let line: Line = serde_json::from_str(&line.expect("UTF-8")).expect("a figure");
        table.add(Row { name: line.name, value: line.value, peer: line.remark, ..Row::default() });
    }
    let status = child.wait().expect("node ends");
    assert!(status.success(), "benches/ui.mjs failed: {status}");
}
