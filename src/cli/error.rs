//! Errors of the command line: the message is for people, the exit code for scripts.

use super::exit::ExitStatus;
use super::table::TextTable;
use kdaemon_api::ProblemDetails;

/// Why a command failed. The variant decides the exit code.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// The daemon refused the command.
    #[error("{0}")]
    Refused(Box<RefusedProblem>),
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
    Reported(ExitStatus),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl CliError {
    /// The exit code of the process.
    pub(super) fn exit(&self) -> ExitStatus {
        match self {
            Self::Closed => ExitStatus::Success,
            Self::Other(_) => ExitStatus::Other,
            Self::Usage(_) => ExitStatus::Usage,
            Self::Refused(_) | Self::Invalid(_) => ExitStatus::Refused,
            Self::NotFound(_) => ExitStatus::NotFound,
            Self::Unreachable(_) => ExitStatus::Unavailable,
            Self::Reported(exit) => *exit,
        }
    }

    /// The error for a response that is not of the expected form.
    pub(super) fn unexpected(reason: impl std::fmt::Display) -> Self {
        Self::Other(format!("unexpected response of the daemon: {reason}"))
    }

    /// `true` if no message remains to be printed.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self, Self::Closed | Self::Reported(_))
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(error.to_string()),
        }
    }
}

/// A refusal of the daemon; `Display` renders the rejections per node as a table.
#[derive(Debug)]
pub(super) struct RefusedProblem(ProblemDetails);

/// The failure for a response with this status and body.
pub(super) fn of_response(status: u16, body: &[u8]) -> CliError {
    let Ok(problem) = serde_json::from_slice::<ProblemDetails>(body) else {
        let text = String::from_utf8_lossy(body);
        let start: String = text.chars().take(200).collect();
        return CliError::Other(format!(
            "unexpected response with status {status} (is this a kDaemon?): {start}"
        ));
    };
    match (status, problem.kind.as_str()) {
        (404, "/problems/no-such-route") => CliError::Other(format!(
            "{}; the daemon may be older than this program, or have another api_version (set --server URL/VERSION)",
            problem.detail
        )),
        (404, _) => CliError::NotFound(problem.detail),
        (429 | 503, _) => CliError::Unreachable(problem.detail),
        (500.., _) => CliError::Other(format!("{} (request {})", problem.detail, problem.request_id)),
        _ => CliError::Refused(Box::new(RefusedProblem(problem))),
    }
}

impl std::fmt::Display for RefusedProblem {
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
            let mut table = TextTable::new(&["NODE", "REASON"]);
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
    fn each_status_maps_to_its_exit_code() {
        let code = |status, kind: &str| of_response(status, problem(kind, "x", &[]).as_bytes()).exit();
        for (status, kind, expected) in [
            (400, "malformed", ExitStatus::Refused),
            (403, "forbidden", ExitStatus::Refused),
            (404, "not-found", ExitStatus::NotFound),
            (404, "no-such-route", ExitStatus::Other),
            (409, "conflict", ExitStatus::Refused),
            (412, "changed", ExitStatus::Refused),
            (422, "invalid", ExitStatus::Refused),
            (429, "overloaded", ExitStatus::Unavailable),
            (500, "internal", ExitStatus::Other),
            (503, "unavailable", ExitStatus::Unavailable),
        ] {
            assert_eq!(code(status, kind), expected, "{status} {kind}");
        }
        assert_eq!(of_response(502, b"<html>").exit(), ExitStatus::Other);
    }

    #[test]
    fn rejections_are_printed_once_as_a_table() {
        let reasons = [("a", "is cordoned"), ("bb", "is DOWN")];
        let body = problem("conflict", "no node fits: a is cordoned; bb is DOWN", &reasons);
        let text = of_response(409, body.as_bytes()).to_string();
        assert_eq!(text, "no node fits\nNODE  REASON\na     is cordoned\nbb    is DOWN");
    }
}
