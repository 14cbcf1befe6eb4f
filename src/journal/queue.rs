//! The queue of the writer. An uncontended caller that finds the writer idle writes in place; concurrent
//! callers wait, and their commands are written together in the journal's own thread.
//!
//! Passing a command to another thread and its answer back takes about as long as the disk does, which an
//! uncontended caller avoids. (LevelDB's writers do the same, `DBImpl::Write` in
//! <https://github.com/google/leveldb/blob/main/db/db_impl.cc>: the first waiting writer writes for all.)
//! With many concurrent callers, the threads that answer them must not wait for the disk.

use super::message::Message;
use super::writer::{Unfinished, Writer};
use super::{SubmitError, closed, is_one_thread};
use crate::store::StoreError;
use futures_util::FutureExt as _;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, TryAcquireError, mpsc};

/// The most queued messages. Further ones are refused (clients) or wait for a place (reactors).
const LIMIT: usize = 4_096;
/// The most messages handled together.
const BATCH_LIMIT: usize = 512;

/// The queue, and the writer while the queue is empty.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// For messages that come yet.
    room: Semaphore,
    /// The journal's own thread. `None` in a single-threaded runtime (tests, the simulation), where a task
    /// does the work, so that the order of events does not depend on the machine's speed.
    thread: Option<mpsc::UnboundedSender<WriterRun>>,
}

struct Inner {
    messages: VecDeque<Message>,
    writer: Place,
    /// The number of messages expected together: that of recent batches, lowered with each smaller one. A
    /// single message among many does not mean that its sender is alone.
    expected: usize,
}

/// The writer's whereabouts.
enum Place {
    Here(Box<Writer>),
    /// Writing; checks for messages afterwards.
    Away,
    Closed,
}

/// A run of the writer: first what an inline write has left, then the queued messages.
struct WriterRun {
    queue: Arc<Queue>,
    writer: Box<Writer>,
    left: Option<Unfinished>,
}

impl WriterRun {
    async fn run(self) {
        let Self { queue, writer, left } = self;
        if AssertUnwindSafe(queue.work(writer, left)).catch_unwind().await.is_err() {
            abort();
        }
    }
}

impl Queue {
    pub(super) fn new(writer: Writer) -> Result<Self, StoreError> {
        let thread = if is_one_thread() { None } else { Some(start_thread()?) };
        let inner = Inner { messages: VecDeque::new(), writer: Place::Here(Box::new(writer)), expected: 1 };
        Ok(Self { inner: Mutex::new(inner), room: Semaphore::new(LIMIT), thread })
    }

    /// Enqueues a message, unless the queue is full.
    pub(super) fn try_send(self: &Arc<Self>, message: Message) -> Result<(), SubmitError> {
        match self.room.try_acquire() {
            Ok(place) => place.forget(), // released when the message is taken
            Err(TryAcquireError::NoPermits) => return Err(SubmitError::Overloaded),
            Err(TryAcquireError::Closed) => return Err(closed()),
        }
        self.add(message)
    }

    /// Enqueues a message; waits for a place while the queue is full.
    pub(super) async fn send(self: &Arc<Self>, message: Message) -> Result<(), SubmitError> {
        self.room.acquire().await.map_err(|_| closed())?.forget();
        self.add(message)
    }

    /// Number of queued messages.
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
            Place::Here(writer) if is_alone => self.write_in_place(writer),
            Place::Here(writer) => self.write_in_thread(writer, None),
            Place::Away | Place::Closed => {}
        }
        Ok(())
    }

    /// Runs the writer in the caller's thread. What waits for more than the disk, and what arrives meanwhile, is
    /// done in the journal's own thread: this one may belong to a caller that was answered just now.
    fn write_in_place(self: &Arc<Self>, writer: Box<Writer>) {
        or_abort(|| {
            let Some((mut writer, batch)) = self.take_or_rest(writer) else { return };
            self.note_size(batch.len());
            if let Err(left) = writer.handle_inline(batch) {
                self.write_in_thread(writer, Some(left));
            } else if let Some(writer) = self.rest(writer) {
                self.write_in_thread(writer, None);
            }
        });
    }

    /// Runs the writer in the journal's own thread.
    fn write_in_thread(self: &Arc<Self>, writer: Box<Writer>, left: Option<Unfinished>) {
        let run = WriterRun { queue: Arc::clone(self), writer, left };
        match &self.thread {
            // The thread takes jobs while this queue exists.
            Some(thread) => drop(thread.send(run)),
            None => drop(tokio::spawn(run.run())),
        }
    }

    async fn work(self: Arc<Self>, mut writer: Box<Writer>, left: Option<Unfinished>) {
        if let Some(left) = left
            && writer.resume(left).await
        {
            return self.close(writer);
        }
        while let Some(found) = self.take_or_rest(writer) {
            let mut batch;
            (writer, batch) = found;
            self.gather(&mut batch).await;
            if writer.handle(batch).await {
                return self.close(writer);
            }
        }
    }

    /// Waits for more messages while some arrive and fewer than expected are queued: a client that was just
    /// answered is likely to send again, and a commit takes nearly as long for one command as for a hundred.
    /// Only yields to runnable tasks and never sleeps, so an uncontended caller is not delayed.
    async fn gather(&self, batch: &mut Vec<Message>) {
        let expected = self.lock().expected;
        let mut before = 0;
        while batch.len() > before && batch.len() < expected {
            before = batch.len();
            tokio::task::yield_now().await;
            self.take(&mut self.lock(), batch);
        }
        self.note_size(batch.len());
    }

    /// Notes the size of a batch.
    fn note_size(&self, size: usize) {
        let mut inner = self.lock();
        inner.expected = size.max(inner.expected - inner.expected.div_ceil(8));
    }

    /// Leaves the writer here for the next caller, unless there are messages.
    fn rest(&self, writer: Box<Writer>) -> Option<Box<Writer>> {
        let mut inner = self.lock();
        if !inner.messages.is_empty() {
            return Some(writer);
        }
        inner.writer = Place::Here(writer);
        None
    }

    /// The queued messages with the writer to handle them; if there are none, the writer stays here for the
    /// next caller.
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

    /// Moves queued messages into a batch, as many as fit.
    fn take(&self, inner: &mut Inner, batch: &mut Vec<Message>) {
        let count = inner.messages.len().min(BATCH_LIMIT.saturating_sub(batch.len()));
        batch.extend(inner.messages.drain(..count));
        self.room.add_permits(count);
    }

    /// Closes the queue: waiting and later callers get an error.
    fn close(&self, writer: Box<Writer>) {
        self.room.close();
        let mut inner = self.lock();
        inner.writer = Place::Closed;
        let left = std::mem::take(&mut inner.messages);
        drop(inner);
        drop((writer, left));
    }
}

fn or_abort(work: impl FnOnce()) {
    if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
        abort();
    }
}

/// A daemon that can no longer record anything must not continue; its next start begins with the durable log.
fn abort() {
    tracing::error!("the journal's writer panicked; the daemon exits");
    std::process::abort();
}

/// Starts the journal's own thread, which ends with the queue.
fn start_thread() -> Result<mpsc::UnboundedSender<WriterRun>, StoreError> {
    let failed =
        |error: std::io::Error| StoreError::Unavailable(format!("no thread for the journal: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let (sender, mut given) = mpsc::unbounded_channel::<WriterRun>();
    let run = move || {
        runtime.block_on(async {
            while let Some(job) = given.recv().await {
                job.run().await;
            }
        });
    };
    std::thread::Builder::new().name("journal".into()).spawn(run).map_err(failed)?;
    Ok(sender)
}
