//! Failures and who is at fault: maps bollard's errors and Docker's messages to [`EngineError`].

use super::page;
use crate::engine::{EngineError, Failure};
use bollard::errors::Error;
use std::time::Duration;

/// Why a single request failed.
#[derive(Debug)]
pub(super) struct RequestError {
    /// The HTTP status that the engine answered with, when it did (and no proxy in front of it).
    pub(super) status: Option<u16>,
    /// The error for the caller.
    pub(super) error: EngineError,
}

impl RequestError {
    /// No answer came within `limit`.
    pub(super) fn late(limit: Duration) -> Self {
        let failure = Failure::timeout(limit);
        Self { status: None, error: EngineError::Unreachable(failure) }
    }

    /// Whether the requested object does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether the wanted name belongs to another container. (Old Podman answers that with status 500.)
    pub(super) fn is_name_conflict(&self) -> bool {
        self.status.is_some()
            && self.error.to_string().contains("already in use")
            && self.error.to_string().contains("name")
    }

    /// Whether the engine reported a state that bollard does not know: Podman's `stopped`, which lasts from
    /// the exit of a process until Podman has cleaned up.
    pub(super) fn is_passing_state(&self) -> bool {
        self.status.is_none() && self.error.to_string().contains("unknown variant `stopp")
    }

    /// Whether a network cannot be removed because a container is attached to it. (Docker answers 403, Podman 500.)
    pub(super) fn is_in_use(&self) -> bool {
        let text = self.error.to_string();
        self.status.is_some() && (text.contains("active endpoints") || text.contains("is being used"))
    }

    /// Whether another request is removing the container right now.
    pub(super) fn is_being_removed(&self) -> bool {
        self.status == Some(409) && self.error.to_string().contains("already in progress")
    }
}

impl From<RequestError> for EngineError {
    fn from(failure: RequestError) -> Self {
        failure.error
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                // A status of a proxy says nothing about what the engine has, such as 404 of a container.
                let status = (!page::is_page(&message)).then_some(status_code);
                Self { status, error: answered(status_code, &message) }
            }
            // An error inside of a stream that began with "200 OK".
            Error::DockerStreamError { error } => Self { status: Some(500), error: answered(500, &error) },
            Error::JsonDataError { message, .. } => {
                Self { status: None, error: no_engine(&format!("invalid answer ({message})")) }
            }
            Error::JsonSerdeError { err } => {
                Self { status: None, error: no_engine(&format!("invalid answer ({err})")) }
            }
            Error::URLParseError { .. } | Error::InvalidURIError { .. } | Error::URLEncodedError { .. } => {
                Self { status: None, error: EngineError::Rejected(Failure::refused(error.to_string())) }
            }
            other => Self { status: None, error: unreachable(&other) },
        }
    }
}

/// The endpoint does not serve an engine's API.
pub(super) fn no_engine(why: &str) -> EngineError {
    EngineError::Unreachable(Failure::NotAnEngine { quote: why.into() })
}

/// No connection, or a broken one. Quotes the innermost cause, which is the one that helps ("Connection
/// refused" rather than "error in the client").
fn unreachable(error: &Error) -> EngineError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let connecting = matches!(error, Error::HyperLegacyError { err } if err.is_connect());
    let quote = cause.to_string().into();
    EngineError::Unreachable(if connecting {
        Failure::NoConnection { quote }
    } else {
        Failure::BadAnswer { quote }
    })
}

/// Maps an engine's refusal. Docker's status alone does not tell who is at fault: a port that is in use and
/// an image that does not exist may both be 500.
fn answered(status: u16, message: &str) -> EngineError {
    if page::is_page(message) {
        return EngineError::node_fault(page::text(status, message));
    }
    let failure = if message.is_empty() {
        Failure::refused(format!("HTTP status {status}"))
    } else {
        Failure::refused(message)
    };
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if status == 404 && says(&["no such container"]) {
        EngineError::NotFound(failure)
    } else if says(&["page not found"]) || (300..400).contains(&status) {
        no_engine(if message.is_empty() { "a redirection" } else { message })
    } else if says(NODE_FAULTS)
        || (lower.starts_with("network ") && lower.contains("not found"))
        || (is_refused_access(status) && (!says(REJECTIONS) || is_bare_status(&lower)))
    {
        EngineError::NodeFault(failure)
    } else if says(REJECTIONS) || matches!(status, 400..=408 | 410..=428) {
        EngineError::Rejected(failure)
    } else {
        EngineError::NodeFault(failure)
    }
}

/// Whether the status says that the request is not allowed: by a filtering proxy in front of the engine, or by an
/// authorization plugin. Another node may allow it. (A registry that refuses access is known by its message.)
fn is_refused_access(status: u16) -> bool {
    matches!(status, 401 | 403 | 405)
}

/// Whether a message is only the name of its status, such as `401 Unauthorized`.
fn is_bare_status(lower: &str) -> bool {
    lower.trim().trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ') == "unauthorized"
}

/// Messages that mean the node is at fault, whatever the status.
const NODE_FAULTS: &[&str] = &[
    "port is already allocated",
    "address already in use",
    "driver failed",
    "no space left",
    "cannot allocate memory",
    "read-only file system",
    "input/output error",
    // Too few processors for the limit, or the wrong architecture for the image.
    "cpus available",
    "no matching manifest",
    "exec format error",
    // A path on the node is not of the type that the mount needs.
    "error mounting",
    "source path does not exist",
    // A network without free addresses, or two networks of one name.
    "pool overlaps",
    "non-overlapping",
    "is ambiguous",
    // The node cannot reach the registry.
    "dial tcp",
    "dial udp",
    "no such host",
    "connection refused",
    "connection reset",
    "network is unreachable",
    "i/o timeout",
    "tls handshake",
    "x509:",
    "server gave http response",
    "request canceled",
    "context deadline exceeded",
    "unexpected eof",
    "toomanyrequests",
    "too many requests",
];

/// Messages that mean the order is wrong, even when the status blames the engine.
const REJECTIONS: &[&str] = &[
    "no such image",
    "manifest unknown",
    "manifest for",
    "name unknown",
    "pull access denied",
    "access to the resource is denied",
    "repository does not exist",
    "repository name",
    "unauthorized",
    "authentication required",
    "no basic auth",
    "invalid reference",
    "executable file not found",
    // `exec: "/x": stat /x: no such file or directory` and similar errors of the OCI runtime.
    "oci runtime",
];

#[cfg(test)]
mod tests {
    use super::{RequestError, answered};
    use crate::engine::EngineError;
    use bollard::errors::Error;

    /// Messages recorded from Docker 20.10.
    #[test]
    fn engine_messages_map_to_faults() {
        let node_faults = [
            (
                500,
                "driver failed programming external connectivity on endpoint x (8272): Bind for 0.0.0.0:8080 failed: port is already allocated",
            ),
            (
                500,
                "driver failed programming external connectivity on endpoint x (8272): Error starting userland proxy: listen tcp4 0.0.0.0:2375: bind: address already in use",
            ),
            (400, "Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
            (404, "network nonet not found"),
            (500, "Get \"http://10.93.1.1:5001/v2/\": dial tcp 10.93.1.1:5001: connect: connection refused"),
            (500, "write /var/lib/docker/tmp/x: no space left on device"),
            (500, "an unknown failure"),
            (409, "container is marked for removal and cannot be started"),
            (503, ""),
            (401, "401 Unauthorized"),
            (403, "Forbidden"),
            (
                403,
                "authorization denied by plugin opa-docker-authz: request rejected by administrative policy",
            ),
            (
                403,
                "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>",
            ),
            (404, "<html><head><title>404 Not Found</title></head><body>no such image</body></html>"),
            (405, "Method Not Allowed"),
            (
                400,
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error mounting \"/etc/passwd\" to rootfs at \"/tmp\": not a directory: unknown",
            ),
        ];
        for (status, sentence) in node_faults {
            assert!(matches!(answered(status, sentence), EngineError::NodeFault(_)), "{status} {sentence}");
        }
        let rejections = [
            (404, "No such image: nosuch:latest"),
            (404, "manifest for 10.93.1.1:5000/nosuch:latest not found: manifest unknown: manifest unknown"),
            (404, "pull access denied for nosuch, repository does not exist or may require 'docker login'"),
            (500, "Get \"http://10.93.1.1:5000/v2/x/manifests/1\": no basic auth credentials"),
            (400, "invalid reference format"),
            (401, "Head \"https://ghcr.io/v2/x/y/manifests/1\": unauthorized"),
            (401, "unauthorized: authentication required"),
            (403, "denied: requested access to the resource is denied"),
            (400, "Minimum memory limit allowed is 6MB"),
            (
                400,
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown",
            ),
            (
                500,
                "OCI runtime create failed: exec: \"/nope/x\": stat /nope/x: no such file or directory: unknown",
            ),
        ];
        for (status, sentence) in rejections {
            assert!(matches!(answered(status, sentence), EngineError::Rejected(_)), "{status} {sentence}");
        }
        assert!(matches!(answered(404, "No such container: abc"), EngineError::NotFound(_)));
        assert!(matches!(answered(404, "page not found"), EngineError::Unreachable(_)));
    }

    #[test]
    fn page_of_a_proxy_is_quoted_without_tags_and_is_no_answer_of_the_engine() {
        let message = "<html><body><h1>404 Not Found</h1>\n<p>a   proxy</p></body></html>".to_owned();
        let failure = RequestError::from(Error::DockerResponseServerError { status_code: 404, message });
        assert!(!failure.is_not_found(), "what a proxy does not have may exist on the engine");
        assert_eq!(failure.error, EngineError::node_fault("404 Not Found a proxy"));
    }
}
