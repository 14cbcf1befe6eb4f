//! Failures of engines, probes and launches, as clauses that follow a colon.

use super::alternatives;
use super::names::Names;
use kdaemon_events::failure::{Failure, ProbeFailure};

/// Renders a failed operation of an engine.
#[must_use]
pub fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Timeout { limit_ms } => format!("no answer within {limit_ms} ms"),
        Failure::NoConnection { quote } if quote.as_str().is_empty() => "no connection".to_owned(),
        Failure::NoConnection { quote } => format!("no connection: {quote}"),
        Failure::BadAnswer { quote } => format!("no usable answer: {quote}"),
        Failure::NotAnEngine { quote } => format!("the endpoint is not a container engine: {quote}"),
        Failure::Refused { quote } => quote.to_string(),
        Failure::NoContainer => "the engine has no such container".to_owned(),
        Failure::RemovedMeanwhile => {
            "another client of the engine removed the container while it was being started".to_owned()
        }
        Failure::StillRemoving { limit_ms } => {
            format!("the engine did not finish removing the previous container within {limit_ms} ms")
        }
        Failure::NamesTaken { names } => {
            format!("other containers on the node have the names that it could use: {}", alternatives(names))
        }
        Failure::PullFailed { image, quote } => format!("image `{image}` could not be pulled: {quote}"),
        Failure::PullTimeout { image, limit_ms } => {
            format!("the pull of image `{image}` did not finish within {limit_ms} ms")
        }
        Failure::PullStalled { image, limit_ms } => {
            format!("the pull of image `{image}` made no progress for {limit_ms} ms")
        }
        Failure::ImageMissing { image } => {
            format!("the engine reported image `{image}` as pulled, but does not have it")
        }
        Failure::InvalidImage { image } => format!("`{image}` is not a valid image reference"),
        Failure::InvalidNetwork { network } => format!("`{network}` is not a valid network name"),
        Failure::CredentialsMissing { name } => format!(
            "the application's registry_auth is `{name}`, but the daemon has no registry credentials of that name"
        ),
        Failure::CredentialsUnusable { name, quote } => {
            format!("the registry credentials `{name}` cannot be used: {quote}")
        }
    }
}

/// Renders a failed probe.
#[must_use]
pub fn probe_failure(names: Names<'_>, probe: &ProbeFailure) -> String {
    match probe {
        ProbeFailure::DuplicateEngine { node_id } => format!(
            "its engine has the same id as that of node {}: unmount one of them if it is the same engine under two \
             addresses; if the machine was cloned, remove /etc/docker/key.json and the file engine-id below Docker's data \
             root and restart Docker",
            names.node(*node_id)
        ),
        ProbeFailure::NotListed { limit_ms } => {
            format!("the engine answers a ping, but did not list its containers within {limit_ms} ms")
        }
        ProbeFailure::Engine(engine) => failure(engine),
    }
}
