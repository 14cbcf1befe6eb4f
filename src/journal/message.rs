//! Messages from the journal's handles to the writer.

use super::{Outcome, Submission, SubmitError};
use crate::store::Head;
use kdaemon_events::Seq;
use tokio::sync::oneshot;

/// A message to the writer.
pub(super) enum Message {
    Submit(Box<Submission>, oneshot::Sender<Result<Outcome, SubmitError>>),
    Amend {
        key: String,
        status: u16,
        seq: Seq,
        body: String,
    },
    Follow {
        /// The known number of commits.
        commits: u64,
        reply: oneshot::Sender<Head>,
    },
    Close(oneshot::Sender<()>),
}
