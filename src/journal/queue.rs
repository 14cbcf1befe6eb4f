//! The queue before the writer. Whoever comes alone and finds the writer idle has it write there and then; whoever finds it
//! busy waits for it, and all who wait are written for together, in a thread that is the journal's own.
//!
//! To hand a command to another thread and its answer back takes about as long as the disk does: who is alone is spared
//! that. (LevelDB's writers do it alike, `DBImpl::Write` in <https://github.com/google/leveldb/blob/main/db/db_impl.cc>:
//! the first of those who wait writes for all.) Where many ask at once, the threads that answer them are not to wait for
//! the disk.

use super::message::Message;
use super::writer::Writer;
use super::{SubmitError, closed, is_one_thread};
use crate::store::StoreError;
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use tokio::sync::{Semaphore, TryAcquireError, mpsc};

/// How many messages may wait. More are refused (people) or wait outside (reactors).
const LIMIT: usize = 4_096;
/// How many messages are handled together at most.
const BATCH_LIMIT: usize = 512;

/// The queue, and the writer while nothing waits.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// For messages that come yet.
    room: Semaphore,
    /// The journal's own thread. `None` in a runtime of one thread (tests, the simulation), where the order of things must not
    /// hang on how fast the machine is: there a task does it.
    thread: Option<mpsc::UnboundedSender<Work>>,
}

struct Inner {
    messages: VecDeque<Message>,
    writer: Place,
    /// How many messages are likely to come together: as many as did, and fewer with each batch that was smaller. One lone
    /// message among many does not mean that its sender is alone.
    expected: usize,
}

/// Where the writer is.
enum Place {
    Here(Box<Writer>),
    /// It writes, and looks for messages when it has done so.
    Away,
    Closed,
}

/// Handling all that waits.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Queue {
    pub(super) fn new(writer: Writer) -> Result<Self, StoreError> {
        let thread = if is_one_thread() { None } else { Some(start_thread()?) };
        let inner = Inner { messages: VecDeque::new(), writer: Place::Here(Box::new(writer)), expected: 1 };
        Ok(Self { inner: Mutex::new(inner), room: Semaphore::new(LIMIT), thread })
    }

    /// Has a message handled, unless too many wait.
    pub(super) fn try_send(self: &Arc<Self>, message: Message) -> Result<(), SubmitError> {
        match self.room.try_acquire() {
            Ok(place) => place.forget(), // it is free again when the message is taken
            Err(TryAcquireError::NoPermits) => return Err(SubmitError::Overloaded),
            Err(TryAcquireError::Closed) => return Err(closed()),
        }
        self.add(message)
    }

    /// Has a message handled; waits for a place where too many wait.
    pub(super) async fn send(self: &Arc<Self>, message: Message) -> Result<(), SubmitError> {
        self.room.acquire().await.map_err(|_| closed())?.forget();
        self.add(message)
    }

    /// How many messages wait.
    pub(super) fn waiting(&self) -> usize {
        LIMIT - self.room.available_permits()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing below can panic between two changes that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, message: Message) -> Result<(), SubmitError> {
        let mut inner = self.lock();
        if let Place::Closed = inner.writer {
            return Err(closed());
        }
        inner.messages.push_back(message);
        let found = std::mem::replace(&mut inner.writer, Place::Away);
        let is_alone = inner.expected == 1;
        drop(inner);
        match found {
            Place::Here(writer) if is_alone => self.have_written_here(writer),
            Place::Here(writer) => self.have_written_beside(writer),
            Place::Away | Place::Closed => {}
        }
        Ok(())
    }

    /// Has the writer handle what waits here and now, as far as that goes without waiting for anything but the disk; what
    /// is left then is a task, for which it makes no difference that somebody goes away.
    fn have_written_here(self: &Arc<Self>, writer: Box<Writer>) {
        let mut work = or_abort(Arc::clone(self).work(writer, true));
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(work);
        }
    }

    /// Has the writer handle what waits in the journal's own thread.
    fn have_written_beside(self: &Arc<Self>, writer: Box<Writer>) {
        let work = or_abort(Arc::clone(self).work(writer, false));
        match &self.thread {
            // It takes work as long as this queue is there.
            Some(thread) => drop(thread.send(work)),
            None => drop(tokio::spawn(work)),
        }
    }

    async fn work(self: Arc<Self>, mut writer: Box<Writer>, is_alone: bool) {
        while let Some(found) = self.take_or_rest(writer) {
            let mut batch;
            (writer, batch) = found;
            self.gather(&mut batch).await;
            if writer.handle(batch).await {
                return self.close(writer);
            }
            if is_alone && self.waiting() > 0 {
                // Whose thread this is may be who was answered just now.
                return self.have_written_beside(writer);
            }
        }
    }

    /// Waits for more messages as long as some come and there are fewer than are likely: who was answered just now is likely
    /// to ask again, and a commit takes nearly as long for one command as for a hundred. It never waits for time
    /// to pass, only for tasks that can run; who is alone is not held up.
    async fn gather(&self, batch: &mut Vec<Message>) {
        let expected = self.lock().expected;
        let mut before = 0;
        while batch.len() > before && batch.len() < expected {
            before = batch.len();
            tokio::task::yield_now().await;
            self.take(&mut self.lock(), batch);
        }
        self.lock().expected = batch.len().max(expected - expected.div_ceil(8));
    }

    /// What waits, with the writer that is to handle it; where nothing does, the writer is here for whoever comes next.
    fn take_or_rest(&self, writer: Box<Writer>) -> Option<(Box<Writer>, Vec<Message>)> {
        let mut inner = self.lock();
        let mut batch = Vec::new();
        self.take(&mut inner, &mut batch);
        if batch.is_empty() {
            inner.writer = Place::Here(writer);
            return None;
        }
        Some((writer, batch))
    }

    /// Moves what waits into a batch, as much as it has room for.
    fn take(&self, inner: &mut Inner, batch: &mut Vec<Message>) {
        let count = inner.messages.len().min(BATCH_LIMIT.saturating_sub(batch.len()));
        batch.extend(inner.messages.drain(..count));
        self.room.add_permits(count);
    }

    /// Nothing is written any more: who waits yet, or comes, is told so.
    fn close(&self, writer: Box<Writer>) {
        self.room.close();
        let mut inner = self.lock();
        inner.writer = Place::Closed;
        let left = std::mem::take(&mut inner.messages);
        drop(inner);
        drop((writer, left));
    }
}

/// A daemon that can record nothing any more must not go on as if it could; its next start begins with what is durable.
fn or_abort(work: impl Future<Output = ()> + Send + 'static) -> Work {
    let work = AssertUnwindSafe(work).catch_unwind();
    Box::pin(async {
        if work.await.is_err() {
            tracing::error!("the journal was ended by a fault of the daemon, which ends with it");
            std::process::abort();
        }
    })
}

/// Starts the journal's own thread, which ends with the queue.
fn start_thread() -> Result<mpsc::UnboundedSender<Work>, StoreError> {
    let failed =
        |error: std::io::Error| StoreError::Unavailable(format!("no thread for the journal: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (sender, mut given) = mpsc::unbounded_channel::<Work>();
    let run = move || {
        runtime.block_on(async {
            while let Some(work) = given.recv().await {
                work.await;
            }
        });
    };
    std::thread::Builder::new().name("journal".into()).spawn(run).map_err(failed)?;
    Ok(sender)
}
