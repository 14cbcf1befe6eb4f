//! Why a command failed: the message that people read, and the exit code that scripts read.

use super::table::Table;
use kdaemon_api::ProblemDetails;

/// Why a command failed. Each sort has an exit code of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused it.
    #[error("{0}")]
    Refused(Box<Refusal>),
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

/// A problem as people read it.
#[derive(Debug)]
pub(super) struct Refusal(ProblemDetails);

/// The failure that a response with this status and body is.
pub(super) fn of_response(status: u16, body: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<ProblemDetails>(body) else {
        let text = String::from_utf8_lossy(body);
        let start: String = text.chars().take(200).collect();
        return Failure::Other(format!("unexpected answer with status {status}; is it a kDaemon?: {start}"));
    };
    match (status, problem.kind.as_str()) {
        (404, "/problems/no-such-route") => Failure::Other(format!(
            "{}; is the daemon older than this program, or its api_version different? (set --server URL/VERSION)",
            problem.detail
        )),
        (404, _) => Failure::NotFound(problem.detail),
        (429 | 503, _) => Failure::Unreachable(problem.detail),
        (500.., _) => Failure::Other(format!("{} (request {})", problem.detail, problem.request_id)),
        _ => Failure::Refused(Box::new(Refusal(problem))),
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(ProblemDetails { detail, field, reasons, .. }) = self;
        // With reasons the table says what the sentence would repeat.
        let is_repeated = |rest: &str| reasons.iter().all(|reason| rest.contains(&reason.node));
        let detail = match detail.split_once(": ") {
            Some((head, rest)) if !reasons.is_empty() && is_repeated(rest) => head,
            _ => detail,
        };
        f.write_str(detail)?;
        if let Some(field) = field.as_ref().filter(|field| !detail.contains(field.as_str())) {
            write!(f, " (field {field})")?;
        }
        if !reasons.is_empty() {
            let mut table = Table::new(&["NODE", "WHY NOT"]);
            for reason in reasons {
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
    use kdaemon_api::RejectedNode;

    fn problem(kind: &str, detail: &str, reasons: &[(&str, &str)]) -> String {
        let rejection = |(node, reason): &(&str, &str)| RejectedNode {
            node: (*node).to_owned(),
            reason: (*reason).to_owned(),
        };
        serde_json::to_string(&ProblemDetails {
            kind: format!("/problems/{kind}"),
            title: "A problem".to_owned(),
            status: 400,
            detail: detail.to_owned(),
            instance: "/0.0/nodes".to_owned(),
            request_id: "r".to_owned(),
            field: None,
            reasons: reasons.iter().map(rejection).collect(),
        })
        .unwrap()
    }

    #[test]
    fn every_status_has_its_exit_code() {
        let code = |status, kind: &str| of_response(status, problem(kind, "x", &[]).as_bytes()).code();
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
        assert_eq!(of_response(502, b"<html>").code(), 1);
    }

    #[test]
    fn the_reasons_per_node_are_a_table_and_not_said_twice() {
        let reasons = [("a", "is cordoned"), ("bb", "is DOWN")];
        let body = problem("conflict", "no node fits: a is cordoned; bb is DOWN", &reasons);
        let text = of_response(409, body.as_bytes()).to_string();
        assert_eq!(text, "no node fits\nNODE  WHY NOT\na     is cordoned\nbb    is DOWN");
    }
}
