//! The route that copies the log for backups.

use super::problem::{Problem, Sort};
use super::resource::answer;
use super::{Api, HandlerResult, Routes};
use crate::store::{LogCopy, StoreError};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(backup)]
}

/// A copy that is complete after this duration is sent with a Content-Length; otherwise the response begins before the copy
/// is complete.
const SHORT: Duration = Duration::from_secs(10);
/// Size of a read from the copy, in bytes.
const PIECE: usize = 64 * 1024;

/// Back up the log
///
/// A consistent copy of the log as an SQLite database, taken while the daemon runs. `kdaemon backup` requests and verifies it,
/// `kdaemon restore` turns it into a data folder. Registry credentials are not included: they are files next to the log. Only
/// one backup runs at a time (429). A log in RethinkDB cannot be copied to a file (409); use `kdaemon export`. A response that
/// breaks off means that the copy failed.
#[utoipa::path(get, path = "/backup", tag = "events",
    responses((status = 200, description = "Copy of the log", body = Vec<u8>, content_type = "application/vnd.sqlite3")))]
async fn backup(State(api): State<Api>) -> HandlerResult {
    let permit = Arc::clone(&api.backups)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Sort::Overloaded, "another backup is running; try again later"))?;
    let store = Arc::clone(api.journal.store());
    let (done, mut copied) = oneshot::channel();
    // In a task of its own, so that the copy is completed and removed even if the client disconnects.
    tokio::spawn(async move {
        let copy = store.copy().await;
        let _ = done.send((copy, permit));
    });
    let seq = api.journal.cluster().seq();
    let mut response = match timeout(SHORT, &mut copied).await {
        Ok(copied) => {
            let (copy, permit) = copied.map_err(|_| stopping())?;
            let copy = copy?;
            let (seq, sent) = (copy.head().seq, Sent::new(copy, permit).await?);
            let length = sent.length;
            let mut response = answer(StatusCode::OK, seq, body(Copy::Ready(Box::new(sent))));
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            response
        }
        Err(_) => answer(StatusCode::OK, seq, body(Copy::UnderWay(copied))),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.sqlite3"));
    let name = HeaderValue::from_static("attachment; filename=\"kdaemon-backup.db\"");
    headers.insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

fn stopping() -> Problem {
    Problem::new(Sort::Unavailable, "the daemon is stopping")
}

/// A copy that is being sent. It holds the permit for as long as the file exists.
struct Sent {
    file: File,
    length: u64,
    _copy: LogCopy,
    _permit: OwnedSemaphorePermit,
}

impl Sent {
    async fn new(copy: LogCopy, permit: OwnedSemaphorePermit) -> Result<Self, StoreError> {
        let unreadable =
            |error: std::io::Error| StoreError::Unavailable(format!("failed to read the copy: {error}"));
        let file = File::open(copy.path()).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        Ok(Self { file, length, _copy: copy, _permit: permit })
    }

    async fn piece(&mut self) -> Option<std::io::Result<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        match self.file.read_buf(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.freeze())),
            Err(error) => Some(Err(error)),
        }
    }
}

/// A copy that is complete or in progress.
enum Copy {
    Ready(Box<Sent>),
    UnderWay(oneshot::Receiver<(Result<LogCopy, StoreError>, OwnedSemaphorePermit)>),
}

impl Copy {
    async fn ready(self) -> std::io::Result<Box<Sent>> {
        let copied = match self {
            Self::Ready(sent) => return Ok(sent),
            Self::UnderWay(copied) => copied.await,
        };
        let (copy, permit) = copied.map_err(|_| std::io::Error::other("the daemon is stopping"))?;
        let sent = match copy {
            Ok(copy) => Sent::new(copy, permit).await.map(Box::new),
            Err(error) => Err(error),
        };
        sent.map_err(|error| {
            // The status has already been sent, so the failure can only cut the response off.
            tracing::warn!(%error, "backup failed");
            std::io::Error::other(error)
        })
    }
}

fn body(copy: Copy) -> Body {
    let pieces = stream::unfold(Some(copy), |copy| async {
        let mut sent = match copy?.ready().await {
            Ok(sent) => sent,
            Err(error) => return Some((Err(error), None)),
        };
        match sent.piece().await? {
            Ok(piece) => Some((Ok(piece), Some(Copy::Ready(sent)))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Body::from_stream(pieces)
}
