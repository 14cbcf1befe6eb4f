//! Errors of the command line: the message is for people, the exit code for scripts.

use super::exit::Exit;
use super::table::Table;
use kdaemon_api::ProblemDetails;

/// Why a command failed. The variant decides the exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused the command.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// A value or a file is invalid.
    #[error("{0}")]
    Invalid(String),
    /// No node, application, container, event or log has this name.
    #[error("{0}")]
    NotFound(String),
    /// The daemon, its log or a node does not answer, or is busy.
    #[error("{0}")]
    Unreachable(String),
    /// The reader of stdout closed it, such as `head`: not an error.
    #[error("the output was closed")]
    Closed,
    /// Already reported; only the exit code remains.
    #[error("")]
    Reported(Exit),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The exit code of the process.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Closed => Exit::Success,
            Self::Other(_) => Exit::Other,
            Self::Usage(_) => Exit::Usage,
            Self::Refused(_) | Self::Invalid(_) => Exit::Refused,
            Self::NotFound(_) => Exit::NotFound,
            Self::Unreachable(_) => Exit::Unavailable,
            Self::Reported(exit) => *exit,
        }
    }

    /// Whether no message remains to be printed.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Closed | Self::Reported(_))
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

/// A refusal of the daemon; `Display` renders the rejections per node as a table.
#[derive(Debug)]
pub(super) struct Refusal(ProblemDetails);

/// The failure for a response with this status and body.
pub(super) fn of_response(status: u16, body: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<ProblemDetails>(body) else {
        let text = String::from_utf8_lossy(body);
        let start: String = text.chars().take(200).collect();
        return Failure::Other(format!(
            "unexpected response with status {status} (is this a kDaemon?): {start}"
        ));
    };
    match (status, problem.kind.as_str()) {
        (404, "/problems/no-such-route") => Failure::Other(format!(
            "{}; the daemon may be older than this program, or have another api_version (set --server URL/VERSION)",
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
        // The table repeats what the sentence lists after its colon.
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
            let mut table = Table::new(&["NODE", "REASON"]);
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
    use kdaemon_api::NodeRejection;

    fn problem(kind: &str, detail: &str, reasons: &[(&str, &str)]) -> String {
        let rejection = |(node, reason): &(&str, &str)| NodeRejection {
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
    fn each_status_maps_to_its_exit_code() {
        let code = |status, kind: &str| of_response(status, problem(kind, "x", &[]).as_bytes()).exit();
        for (status, kind, expected) in [
            (400, "malformed", Exit::Refused),
            (403, "forbidden", Exit::Refused),
            (404, "not-found", Exit::NotFound),
            (404, "no-such-route", Exit::Other),
            (409, "conflict", Exit::Refused),
            (412, "changed", Exit::Refused),
            (422, "invalid", Exit::Refused),
            (429, "overloaded", Exit::Unavailable),
            (500, "internal", Exit::Other),
            (503, "unavailable", Exit::Unavailable),
        ] {
            assert_eq!(code(status, kind), expected, "{status} {kind}");
        }
        assert_eq!(of_response(502, b"<html>").exit(), Exit::Other);
    }

    #[test]
    fn rejections_are_printed_once_as_a_table() {
        let reasons = [("a", "is cordoned"), ("bb", "is DOWN")];
        let body = problem("conflict", "no node fits: a is cordoned; bb is DOWN", &reasons);
        let text = of_response(409, body.as_bytes()).to_string();
        assert_eq!(text, "no node fits\nNODE  REASON\na     is cordoned\nbb    is DOWN");
    }
}
