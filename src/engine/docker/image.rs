//! Images: their names, and how they get onto an engine.

use super::{DockerEngine, RequestError};
use crate::engine::Failure;
use crate::engine::{EngineError, LaunchOrder};
use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use kdaemon_events::failure::limit_ms;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

impl DockerEngine {
    /// Ensures that the image is on the engine, pulling it if it is missing.
    pub(super) async fn ensure_image(&self, order: &LaunchOrder) -> Result<(), EngineError> {
        let image = reference(&order.spec.docker_image)?;
        if self.has_image(image).await? {
            return Ok(());
        }
        let pulled = self.pull(&tagged(image), order).await;
        // A pull may end with an error that does not matter, or hide one that does: check for the image
        // itself.
        if self.has_image(image).await? {
            return Ok(());
        }
        Err(match pulled {
            Err(error) => error,
            Ok(()) => EngineError::NodeFault(Failure::ImageMissing { image: image.into() }),
        })
    }

    async fn has_image(&self, image: &str) -> Result<bool, RequestError> {
        match self.question(self.docker()?.inspect_image(image)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_not_found() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn pull(&self, image: &str, order: &LaunchOrder) -> Result<(), EngineError> {
        let mut pull = self.pulling.begin(order.identity, image);
        // The semaphore is never closed, so this cannot fail.
        let _permit = self.pulls.acquire().await.ok();
        let options = CreateImageOptions { from_image: Some(image.to_owned()), ..Default::default() };
        let credentials = order.credentials.as_ref().map(|credentials| DockerCredentials {
            username: Some(credentials.username.clone()),
            password: Some(credentials.password.clone()),
            serveraddress: Some(registry(image).to_owned()),
            ..Default::default()
        });
        let mut progress = pin!(self.docker()?.create_image(Some(options), None, credentials));
        let end = Instant::now() + self.limits.pull;
        let mut before = None;
        let mut idle_end = Instant::now() + self.limits.idle;
        loop {
            match timeout_at(end.min(idle_end), progress.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(pull_failed(image, RequestError::from(error).error)),
                Ok(Some(Ok(now))) => {
                    pull.heard(&now);
                    // An engine repeats its last message while it receives nothing: that is no progress.
                    let now = Some(step(now));
                    if now != before {
                        idle_end = Instant::now() + self.limits.idle;
                        before = now;
                    }
                }
                Err(_) => {
                    return Err(stalled(image, self.limits.pull, self.limits.idle, Instant::now() >= end));
                }
            }
        }
    }
}

/// The parts by which two messages of a pull differ.
fn step(info: CreateImageInfo) -> (Option<String>, Option<String>, Option<i64>) {
    (info.id, info.status, info.progress_detail.and_then(|detail| detail.current))
}

fn stalled(image: &str, pull: Duration, idle: Duration, whole: bool) -> EngineError {
    let image = image.into();
    EngineError::NodeFault(if whole {
        Failure::PullTimeout { image, limit_ms: limit_ms(pull) }
    } else {
        Failure::PullStalled { image, limit_ms: limit_ms(idle) }
    })
}

/// Maps an engine's refusal during a pull to a failure of the pull.
fn pull_failed(image: &str, error: EngineError) -> EngineError {
    let of_pull = |failure| match failure {
        Failure::Refused { quote } => Failure::PullFailed { image: image.into(), quote },
        other => other,
    };
    match error {
        EngineError::NodeFault(failure) => EngineError::NodeFault(of_pull(failure)),
        EngineError::Rejected(failure) => EngineError::Rejected(of_pull(failure)),
        other => other,
    }
}

/// An image's reference or id, as it may stand in a request's path.
pub(super) fn reference(image: &str) -> Result<&str, EngineError> {
    let image = image.trim();
    // Docker's grammar is narrower, and the engine enforces it; this check keeps the request to one path.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    let well_formed = !image.is_empty()
        && image.chars().all(allowed)
        && image.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if well_formed {
        Ok(image)
    } else {
        Err(EngineError::Rejected(Failure::InvalidImage { image: image.into() }))
    }
}

/// The reference with the tag `latest` if it has none, as Docker's command line adds it: without a tag, an
/// engine pulls every tag.
fn tagged(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { image.to_owned() } else { format!("{image}:latest") }
}

/// The registry of an image: the part before the first slash, if it looks like a host.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "https://index.docker.io/v1/",
    }
}

#[cfg(test)]
mod tests {
    use super::{reference, registry, tagged};

    #[test]
    fn reference_gets_dockers_default_tag() {
        for (image, wanted) in [
            ("ghost", "ghost:latest"),
            ("ghost:5", "ghost:5"),
            ("reg.example:5000/a/ghost", "reg.example:5000/a/ghost:latest"),
            ("ghost@sha256:00ff", "ghost@sha256:00ff"),
        ] {
            assert_eq!(reference(image).map(tagged).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn text_that_would_change_the_request_is_not_a_reference() {
        for image in ["", "a b", "../containers/json", "a/../b", "/a", "a/", "a?x=1", "a#b", "a%2fb", "ü"] {
            assert!(reference(image).is_err(), "{image}");
        }
    }

    #[test]
    fn registry_is_the_host_before_the_first_slash() {
        assert_eq!(registry("10.93.1.1:5000/x:1"), "10.93.1.1:5000");
        assert_eq!(registry("library/ghost:1"), "https://index.docker.io/v1/");
        assert_eq!(registry("ghost:1"), "https://index.docker.io/v1/");
    }
}
