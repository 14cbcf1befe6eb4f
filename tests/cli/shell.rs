//! A shell in which `kdaemon` is the program of this build, and the replay of transcripts.

use regex::Regex;
use std::path::PathBuf;
use std::process::Output;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::process::Command;

/// Timeout of one command.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs command lines in a temporary folder.
pub(crate) struct Shell {
    server: String,
    pub(crate) folder: tempfile::TempDir,
}

/// The path of a transcript.
pub(crate) fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/cli/transcripts", &format!("{name}.txt")].iter().collect()
}

impl Shell {
    pub(crate) fn new(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A stack is named after its folder.
        std::fs::create_dir(folder.path().join("shop")).unwrap();
        Self { server: server.trim_end_matches('/').to_owned(), folder }
    }

    /// A command line that is not started yet.
    pub(crate) fn command(&self, line: &str) -> Command {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_kdaemon"));
        let programs = program.parent().unwrap().display();
        let mut command = Command::new("bash");
        command
            .args(["-c", line])
            .current_dir(self.folder.path().join("shop"))
            .env_clear()
            .env("PATH", format!("{programs}:/usr/local/bin:/usr/bin:/bin"))
            .env("HOME", self.folder.path())
            .env("TZ", "Europe/Berlin")
            .env("LC_ALL", "C.UTF-8")
            .env("KDAEMON_SERVER", &self.server)
            .kill_on_drop(true);
        command
    }

    /// Runs a command line to its end.
    pub(crate) async fn run(&self, line: &str) -> Output {
        let output = tokio::time::timeout(LIMIT, self.command(line).output()).await;
        output.unwrap_or_else(|_| panic!("timed out: {line}")).unwrap()
    }

    /// Runs a command line and returns its exit code, stdout and stderr.
    pub(crate) async fn told(&self, line: &str) -> (i32, String, String) {
        let output = self.run(line).await;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Runs the commands of a transcript and returns the new transcript.
    pub(crate) async fn replay(&self, transcript: &str) -> String {
        let mut actual = String::new();
        let mut lines = transcript.lines().peekable();
        while let Some(line) = lines.next() {
            if line.starts_with('#') || (line.is_empty() && actual.ends_with('\n') && is_gap(lines.peek())) {
                actual.push_str(line);
                actual.push('\n');
                continue;
            }
            let Some(first) = line.strip_prefix("$ ") else { continue };
            let mut command = first.to_owned();
            actual.push_str(&format!("$ {first}\n"));
            while let Some(more) = lines.peek().and_then(|line| line.strip_prefix("> ")) {
                actual.push_str(&format!("> {more}\n"));
                command.push('\n');
                command.push_str(more);
                lines.next();
            }
            // Stdout and stderr together, like on a terminal.
            let output = self.run(&format!("exec 2>&1\n{command}")).await;
            actual.push_str(&redacted(&String::from_utf8_lossy(&output.stdout)));
            if !actual.ends_with('\n') {
                actual.push('\n');
            }
            match output.status.code() {
                Some(0) => {}
                code => actual.push_str(&format!("[exit {}]\n", code.unwrap_or(-1))),
            }
        }
        actual
    }
}

/// Whether a blank line separates commands, and is not part of the output of one.
fn is_gap(next: Option<&&str>) -> bool {
    next.is_none_or(|next| next.starts_with('#') || next.starts_with("$ "))
}

/// A text with everything replaced that differs between runs: ids, times, seqs, ports, addresses, alignment.
fn redacted(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[ID]"),
            (r"\b[0-9a-f]{64}\b", "[DIGEST]"),
            (r"\b\d+[smhd] ago\b", "[AGO]"),
            (r"(  )now\b", "$1[AGO]"),
            (r"\bnow, ", "[AGO], "),
            (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( [+-]\d\d:\d\d|Z)?", "[TIME]"),
            (r"\bevent \d+", "event [SEQ]"),
            (r#"(?m)^(\s*"?seq"?: +)\d+"#, "$1[SEQ]"),
            (r"\b10\.93\.\d+\.(\d+)", "10.93.X.$1"),
            (r"http://127\.0\.0\.1:\d{5}\b", "http://[DAEMON]"),
            (r"\b3\d{4}\b", "[PORT]"),
            (r" {2,}", "  "),
        ]
        .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
        .into()
    });
    let mut text = text.to_owned();
    for (pattern, with) in RULES.iter() {
        text = pattern.replace_all(&text, *with).into_owned();
    }
    let lines = text.lines().map(|line| {
        // In tables of events, a column with only a number is a seq.
        let cells: Vec<_> = line.split("  ").collect();
        let is_number = |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(cells[0]) {
            return line.to_owned();
        }
        cells.iter().map(|cell| if is_number(cell) { "[SEQ]" } else { cell }).collect::<Vec<_>>().join("  ")
    });
    lines.map(|line| format!("{line}\n")).collect()
}
