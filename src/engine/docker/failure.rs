//! What went wrong, and whose fault it is: bollard's errors and Docker's sentences, sorted into [`EngineError`].

use crate::engine::EngineError;
use bollard::errors::Error;
use std::time::Duration;

/// The longest sentence that is taken over from an engine, in characters: it may end up in the log.
const MAX_SENTENCE: usize = 1000;

/// Why a single request failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// The HTTP status that the engine answered with, when it did.
    pub(super) status: Option<u16>,
    /// What the caller is told.
    pub(super) error: EngineError,
}

impl Failure {
    /// No answer came within `limit`.
    pub(super) fn late(limit: Duration) -> Self {
        let sentence = format!("no answer within {} ms", limit.as_millis());
        Self { status: None, error: EngineError::Unreachable(sentence) }
    }

    /// Whether what was asked about is not there.
    pub(super) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }

    /// Whether the wanted name is another container's. (Old Podman says it with status 500.)
    pub(super) fn is_name_conflict(&self) -> bool {
        self.status.is_some()
            && self.error.to_string().contains("already in use")
            && self.error.to_string().contains("name")
    }

    /// Whether the engine named a state of a container that bollard does not know: Podman's `stopped`, which
    /// lasts from the end of a process until Podman has cleaned up behind it.
    pub(super) fn is_passing_state(&self) -> bool {
        self.status.is_none() && self.error.to_string().contains("unknown variant `stopp")
    }

    /// Whether somebody else removes the container right now.
    pub(super) fn is_being_removed(&self) -> bool {
        self.status == Some(409) && self.error.to_string().contains("already in progress")
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Self { status: Some(status_code), error: answered(status_code, &message) }
            }
            // An error inside of a stream that began with "200 OK".
            Error::DockerStreamError { error } => Self { status: Some(500), error: answered(500, &error) },
            Error::JsonDataError { message, .. } => Self {
                status: None,
                error: no_engine(&format!("its answer cannot be understood ({message})")),
            },
            Error::JsonSerdeError { err } => {
                Self { status: None, error: no_engine(&format!("its answer cannot be understood ({err})")) }
            }
            Error::URLParseError { .. } | Error::InvalidURIError { .. } | Error::URLEncodedError { .. } => {
                Self { status: None, error: EngineError::Rejected(shortened(&error.to_string())) }
            }
            other => Self { status: None, error: unreachable(&other) },
        }
    }
}

/// What answers there does not speak an engine's language.
pub(super) fn no_engine(why: &str) -> EngineError {
    EngineError::Unreachable(shortened(&format!("what answers there is not a container engine: {why}")))
}

/// No connection, or one that broke: in the words of the innermost cause, which is the one that helps
/// ("Connection refused" and not "error in the client").
fn unreachable(error: &Error) -> EngineError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let connecting = matches!(error, Error::HyperLegacyError { err } if err.is_connect());
    let timed_out =
        cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut);
    EngineError::Unreachable(shortened(&match (connecting, timed_out) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => format!("no connection: {cause}"),
        (false, _) => format!("no usable answer: {cause}"),
    }))
}

/// Sorts an engine's answer that it did not do what was asked. Docker's statuses alone do not tell whose fault
/// it is: a port that is taken and an image that does not exist may both be 500.
fn answered(status: u16, message: &str) -> EngineError {
    let sentence = if message.is_empty() {
        format!("it answered with HTTP status {status}")
    } else {
        shortened(message)
    };
    let lower = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if status == 404 && says(&["no such container"]) {
        EngineError::NotFound(sentence)
    } else if says(&["page not found"]) || (300..400).contains(&status) {
        no_engine(&sentence)
    } else if says(NODE_FAULTS) || (lower.starts_with("network ") && lower.contains("not found")) {
        EngineError::NodeFault(sentence)
    } else if says(REJECTIONS) || matches!(status, 400..=408 | 410..=428) {
        EngineError::Rejected(sentence)
    } else {
        EngineError::NodeFault(sentence)
    }
}

/// What tells that another node may do better, whatever the status.
const NODE_FAULTS: &[&str] = &[
    "port is already allocated",
    "address already in use",
    "driver failed",
    "no space left",
    "cannot allocate memory",
    "read-only file system",
    "input/output error",
    // It has too few processors for the limit, or other ones than the image is for.
    "cpus available",
    "no matching manifest",
    "exec format error",
    // A path of the node that is not what the mount takes it for.
    "error mounting",
    "source path does not exist",
    // A network for which it has no addresses left, or has two of one name.
    "pool overlaps",
    "non-overlapping",
    "is ambiguous",
    // It does not reach the registry.
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

/// What tells that the order is wrong, even when the status says that the engine is.
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
    // "exec: "/x": stat /x: no such file or directory" and its kin, of the OCI runtime.
    "oci runtime",
];

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_SENTENCE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::answered;
    use crate::engine::EngineError;

    /// Sentences of Docker 20.10, as it was heard to say them.
    #[test]
    fn an_engines_sentence_tells_whose_fault_it_is() {
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
            (500, "something that nobody has heard before"),
            (409, "container is marked for removal and cannot be started"),
            (503, ""),
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
    fn a_long_sentence_is_cut_between_two_characters() {
        let EngineError::NodeFault(sentence) = answered(500, &"ü".repeat(5000)) else {
            panic!("no node fault")
        };
        assert_eq!(sentence.chars().count(), super::MAX_SENTENCE + 1);
    }
}
