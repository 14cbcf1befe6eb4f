//! Exit codes of the program, which `kdaemon --help` and docs/guide.md list.

use std::process::ExitCode;

/// The outcome of a command as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExitStatus {
    Success = 0,
    Other = 1,
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    Unavailable = 5,
}

impl ExitStatus {
    /// Every exit code, in ascending order.
    const ALL: [Self; 6] =
        [Self::Success, Self::Other, Self::Usage, Self::Refused, Self::NotFound, Self::Unavailable];

    fn code(self) -> u8 {
        self as u8
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Other => "other error: a timeout, an unexpected response, an internal error of the daemon",
            Self::Usage => "invalid command line",
            Self::Refused => "refused: a conflict with the state of the cluster, or an invalid value",
            Self::NotFound => "not found",
            Self::Unavailable => {
                "unavailable: the daemon, its log or a node does not answer or is busy; retry later"
            }
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        Self::from(exit.code())
    }
}

/// All exit codes with their meaning, one per line.
pub(super) fn help() -> String {
    ExitStatus::ALL.map(|exit| format!("  {}  {}", exit.code(), exit.meaning())).join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn guide_lists_the_exit_codes_of_the_help_text() {
        let guide = include_str!("../../docs/guide.md");
        let (_, section) = guide.split_once("\n### Exit codes\n").expect("a section on exit codes");
        let rows = section.lines().take_while(|line| !line.starts_with('#'));
        let listed: Vec<_> = rows.filter(|line| line.starts_with("| ")).skip(1).collect();
        assert_eq!(listed, ExitStatus::ALL.map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())));
    }

    #[test]
    fn codes_are_distinct_and_ascending() {
        assert!(ExitStatus::ALL.is_sorted_by(|a, b| a.code() < b.code()));
    }
}
