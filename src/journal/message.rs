//! What the journal's queue holds for the writer.

use super::{Outcome, Submission, SubmitError};
use crate::store::Head;
use kdaemon_events::Seq;
use tokio::sync::oneshot;

/// What the writer is told.
pub(super) enum Message {
    Submit(Box<Submission>, oneshot::Sender<Result<Outcome, SubmitError>>),
    Amend {
        key: String,
        status: u16,
        seq: Seq,
        body: String,
    },
    Follow {
        /// How many commits there are, as far as is known.
        commits: u64,
        reply: oneshot::Sender<Head>,
    },
    Close(oneshot::Sender<()>),
}
