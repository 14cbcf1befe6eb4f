//! Messages from the journal's handles to the writer.

use super::pending::Asked;
use super::{Outcome, Submission, SubmitError};
use crate::store::Head;
use kdaemon_events::Seq;
use tokio::sync::oneshot;

/// A message to the writer.
pub(super) enum Message {
    Submit(Box<Submission>, oneshot::Sender<Result<Outcome, SubmitError>>),
    Waited {
        key: String,
        until: Seq,
    },
    Follow {
        /// The known number of commits.
        commits: u64,
        reply: oneshot::Sender<Head>,
    },
    Close(oneshot::Sender<()>),
}

impl Message {
    /// The command with its caller; `None` for other messages.
    pub(super) fn into_command(self) -> Option<Asked> {
        match self {
            Self::Submit(submission, reply) => Some((submission, reply)),
            Self::Waited { .. } | Self::Follow { .. } | Self::Close(_) => None,
        }
    }
}
