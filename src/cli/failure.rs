//! Why a command failed: the message that people read, and the exit code that scripts read.

use super::table::Table;
use serde::Deserialize;

/// Why a command failed. Each sort has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused it.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// What was asked for, or a file, cannot be so.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The daemon, its log or a node does not answer, or is busy.
    #[error("{0}")]
    Unreachable(String),
    /// Whoever read our output is gone: nothing is wrong.
    #[error("the output was closed")]
    Closed,
    /// It was said already; only the exit code is still to be given.
    #[error("")]
    Said(u8),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Other(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) | Self::Invalid(_) => 3,
            Self::NotFound(_) => 4,
            Self::Unreachable(_) => 5,
            Self::Said(code) => *code,
        }
    }

    /// Whether there is still something to say about it.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Closed | Self::Said(_))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// What the daemon answers instead of doing what was asked (RFC 9457).
#[derive(Debug, Default, Deserialize)]
pub(super) struct Problem {
    /// The sort of problem, as in `/problems/conflict`.
    #[serde(default, rename = "type")]
    kind: String,
    /// What was wrong.
    #[serde(default)]
    detail: String,
    /// The field that is wrong.
    field: Option<String>,
    /// What was wrong with each node.
    #[serde(default)]
    reasons: Vec<Reason>,
    /// The request, as the daemon's log names it.
    #[serde(default)]
    request_id: String,
}

/// What was wrong with one node.
#[derive(Debug, Deserialize)]
struct Reason {
    node: String,
    reason: String,
}

impl Problem {
    /// The failure that an answer with this status and body is.
    pub(super) fn failure(status: u16, body: &[u8]) -> Failure {
        let Ok(mut problem) = serde_json::from_slice::<Self>(body) else {
            let text = String::from_utf8_lossy(body);
            let start: String = text.chars().take(200).collect();
            return Failure::Other(format!("the server answered {status}, and not as kDaemon does: {start}"));
        };
        if problem.detail.is_empty() {
            problem.detail = format!("the daemon answered {status}");
        }
        match (status, problem.kind.as_str()) {
            (404, "/problems/no-such-route") => Failure::Other(format!(
                "{}; is that daemon older than this program, or its api_version another? (--server URL/VERSION)",
                problem.detail
            )),
            (404, _) => Failure::NotFound(problem.detail),
            (429 | 503, _) => Failure::Unreachable(problem.detail),
            (500.., _) => Failure::Other(format!("{} (request {})", problem.detail, problem.request_id)),
            _ => Failure::Refused(Box::new(problem)),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // With reasons the table says what the sentence would repeat.
        let is_repeated = |rest: &str| self.reasons.iter().all(|reason| rest.contains(&reason.node));
        let detail = match self.detail.split_once(": ") {
            Some((head, rest)) if !self.reasons.is_empty() && is_repeated(rest) => head,
            _ => &self.detail,
        };
        f.write_str(detail)?;
        if let Some(field) = self.field.as_ref().filter(|field| !detail.contains(field.as_str())) {
            write!(f, " (field {field})")?;
        }
        if !self.reasons.is_empty() {
            let mut table = Table::new(&["NODE", "WHY NOT"]);
            for reason in &self.reasons {
                table.row([reason.node.clone(), reason.reason.clone()]);
            }
            write!(f, "\n{}", table.text().trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_status_has_its_exit_code() {
        let code = |status, kind: &str| {
            let body = serde_json::json!({"type": format!("/problems/{kind}"), "detail": "x"}).to_string();
            Problem::failure(status, body.as_bytes()).code()
        };
        for (status, kind, expected) in [
            (400, "malformed", 3),
            (403, "forbidden", 3),
            (404, "not-found", 4),
            (404, "no-such-route", 1),
            (409, "conflict", 3),
            (412, "changed", 3),
            (422, "invalid", 3),
            (429, "overloaded", 5),
            (500, "internal", 1),
            (503, "unavailable", 5),
        ] {
            assert_eq!(code(status, kind), expected, "{status} {kind}");
        }
        assert_eq!(Problem::failure(502, b"<html>").code(), 1);
    }

    #[test]
    fn the_reasons_per_node_are_a_table_and_not_said_twice() {
        let body = br#"{"type":"/problems/conflict","detail":"no node fits: a is cordoned; bb is DOWN",
            "reasons":[{"node":"a","reason":"is cordoned"},{"node":"bb","reason":"is DOWN"}]}"#;
        let text = Problem::failure(409, body).to_string();
        assert_eq!(text, "no node fits\nNODE  WHY NOT\na     is cordoned\nbb    is DOWN");
    }
}
