//! The engine's event stream about our containers.

use super::answers::identity_of;
use super::wire::AnswerBegun;
use super::{DockerEngine, RequestError, wire};
use crate::engine::{EngineError, EngineEvent, Exit, Identity, LABEL_CLUSTER};
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use chrono::DateTime;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, Stream};
use kdaemon_events::ClusterId;
use std::collections::{BTreeSet, HashMap};
use std::future::poll_fn;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::time::timeout;

impl DockerEngine {
    /// Follows what happens to containers of `cluster` from now on.
    ///
    /// A link that is cut silently is noticed by the kernel's keep-alive after half a minute; probes notice
    /// it earlier.
    pub(super) async fn subscribe(
        &self,
        cluster: ClusterId,
    ) -> Result<BoxStream<'static, Result<EngineEvent, EngineError>>, RequestError> {
        // The engine sends its headers a moment before it subscribes us. So it is asked for everything since a
        // time that it named itself before: it remembers its last 256 events, and hands those over and
        // subscribes in one step.
        let since = self.question(self.docker()?.info()).await?.system_time.and_then(|time| {
            let time = DateTime::parse_from_rfc3339(&time).ok()?;
            Some(format!("{}.{:09}", time.timestamp(), time.timestamp_subsec_nanos()))
        });
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let filters = HashMap::from([
            ("type".to_owned(), texts(&["container"])),
            ("label".to_owned(), vec![format!("{LABEL_CLUSTER}={cluster}")]),
            // Without these filters, each health check would send three events. `died` is Podman's.
            (
                "event".to_owned(),
                texts(&[
                    "start",
                    "die",
                    "died",
                    "oom",
                    "destroy",
                    "remove",
                    "health_status",
                    "pause",
                    "unpause",
                ]),
            ),
        ]);
        let options = EventsOptions { since, until: None, filters: Some(filters) };
        let answered = AnswerBegun::default();
        let docker = wire::client(&self.endpoint, &self.limits, AnswerBegun::clone(&answered))?;
        let messages = opened(docker.events(Some(options)), &answered, self.limits.request).await?;
        let mut translator = Translator { cluster, out_of_memory: BTreeSet::new() };
        let events = messages.filter_map(move |message| {
            std::future::ready(match message {
                Ok(message) => translator.translate(message).map(Ok),
                Err(error) => Some(Err(RequestError::from(error).error)),
            })
        });
        Ok(until_error(events))
    }
}

/// Drives a stream until the engine has begun to answer, or until it fails: bollard's streams send their
/// request when they are first polled, and yield nothing before the first item.
pub(super) async fn opened<S, T>(
    mut stream: S,
    answered: &AnswerBegun,
    limit: Duration,
) -> Result<BoxStream<'static, Result<T, Error>>, RequestError>
where
    S: Stream<Item = Result<T, Error>> + Send + Unpin + 'static,
    T: Send + 'static,
{
    let first = poll_fn(|context| match stream.poll_next_unpin(context) {
        Poll::Ready(first) => Poll::Ready(first),
        Poll::Pending if answered.load(Ordering::Relaxed) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match timeout(limit, first).await {
        Err(_) => Err(RequestError::late(limit)),
        Ok(Some(Err(error))) => Err(error.into()),
        Ok(Some(Ok(first))) => Ok(stream::iter([Ok(first)]).chain(stream).boxed()),
        Ok(None) => Ok(stream.boxed()),
    }
}

/// The stream up to and including its first error, which closes the connection.
pub(super) fn until_error<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, EngineError>> + Send + 'static,
) -> BoxStream<'static, Result<T, EngineError>> {
    stream::unfold(Some(stream.boxed()), |stream| async {
        let mut stream = stream?;
        let item = stream.next().await?;
        let goes_on = item.is_ok();
        Some((item, goes_on.then_some(stream)))
    })
    .boxed()
}

/// Translates the engine's events into ours.
struct Translator {
    cluster: ClusterId,
    /// Containers that ran out of memory: the engine reports that before it reports their exit.
    out_of_memory: BTreeSet<Identity>,
}

impl Translator {
    fn translate(&mut self, message: EventMessage) -> Option<EngineEvent> {
        let attributes = message.actor?.attributes?;
        let identity = identity_of(&attributes).filter(|identity| identity.cluster == self.cluster)?;
        let action = message.action?;
        let (action, detail) = action.split_once(':').unwrap_or((&action, ""));
        match action {
            "start" => {
                self.out_of_memory.remove(&identity);
                Some(EngineEvent::Started(identity))
            }
            "oom" => {
                self.out_of_memory.insert(identity);
                None
            }
            "die" | "died" => {
                let code = ["exitCode", "containerExitCode"].iter().find_map(|name| attributes.get(*name));
                Some(EngineEvent::Died(
                    identity,
                    Exit {
                        code: code.and_then(|code| code.parse().ok()).unwrap_or(-1),
                        out_of_memory: self.out_of_memory.remove(&identity),
                    },
                ))
            }
            "destroy" | "remove" => {
                self.out_of_memory.remove(&identity);
                Some(EngineEvent::Removed(identity))
            }
            "pause" => Some(EngineEvent::Paused(identity, true)),
            "unpause" => Some(EngineEvent::Paused(identity, false)),
            "health_status" => {
                // Podman puts it in an attribute.
                let detail = Some(detail.trim()).filter(|detail| !detail.is_empty());
                match detail.or_else(|| attributes.get("health_status").map(String::as_str))? {
                    "healthy" => Some(EngineEvent::Health(identity, true)),
                    "unhealthy" => Some(EngineEvent::Health(identity, false)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}
