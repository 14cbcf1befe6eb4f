//! Failures as data: why an engine, a probe or a launch failed.

use crate::NodeId;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Text of an engine or of the operating system, quoted in an event: at most [`Quote::LIMIT`] characters,
/// without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Quote(String);

impl Quote {
    /// The length limit, in characters.
    pub const LIMIT: usize = 1_000;

    /// Quotes a text: control characters become spaces, and what exceeds the limit is replaced by an ellipsis.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let is_clean = text.len() <= Self::LIMIT && !text.contains(char::is_control);
        if is_clean && text.trim() == text {
            return Self(text.to_owned());
        }
        let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let clean = clean.trim();
        match clean.char_indices().nth(Self::LIMIT) {
            None => Self(clean.to_owned()),
            Some(_) => {
                let kept: String = clean.chars().take(Self::LIMIT - 1).collect();
                Self(kept.trim_end().to_owned() + "…")
            }
        }
    }

    /// The quoted text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Quote {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<&str> for Quote {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an engine did not do what it was asked, or a launch could not be ordered from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// No answer within the limit.
    Timeout {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// No connection could be made.
    NoConnection {
        /// The operating system's words.
        quote: Quote,
    },
    /// The connection broke, or the answer cannot be used.
    BadAnswer {
        /// The defect.
        quote: Quote,
    },
    /// The endpoint is not a container engine.
    NotAnEngine {
        /// The answer.
        quote: Quote,
    },
    /// The engine refused.
    Refused {
        /// The engine's words.
        quote: Quote,
    },
    /// The engine has no such container.
    NoContainer,
    /// The container was removed by another client while it was being started.
    RemovedMeanwhile,
    /// The engine did not finish removing an older container of the same placement within the limit.
    StillRemoving {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The names that the container may have on the engine all belong to other containers.
    NamesTaken {
        /// The names that were tried.
        names: Vec<Quote>,
    },
    /// The image could not be pulled.
    PullFailed {
        /// The image.
        image: Quote,
        /// The engine's words.
        quote: Quote,
    },
    /// The pull of the image did not finish within the limit.
    PullTimeout {
        /// The image.
        image: Quote,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The pull of the image made no progress for as long as the limit.
    PullStalled {
        /// The image.
        image: Quote,
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The engine reported the pull as done, but does not have the image.
    ImageMissing {
        /// The image.
        image: Quote,
    },
    /// The name of the image is not a valid reference.
    InvalidImage {
        /// The name.
        image: Quote,
    },
    /// The name of a network is invalid.
    InvalidNetwork {
        /// The name.
        network: Quote,
    },
    /// The daemon has no registry credentials of this name.
    CredentialsMissing {
        /// The name.
        name: Quote,
    },
    /// The daemon's registry credentials of this name cannot be used.
    CredentialsUnusable {
        /// The name.
        name: Quote,
        /// The defect; never their content.
        quote: Quote,
    },
}

/// A limit as events record it, in whole milliseconds.
#[must_use]
pub fn limit_ms(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

impl Failure {
    /// No answer within a limit.
    #[must_use]
    pub fn timeout(limit: Duration) -> Self {
        Self::Timeout { limit_ms: limit_ms(limit) }
    }

    /// The engine refused, in its own words.
    #[must_use]
    pub fn refused(quote: impl Into<Quote>) -> Self {
        Self::Refused { quote: quote.into() }
    }
}

/// Why a probe of a node failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ProbeFailure {
    /// Another node has the same engine: one engine mounted twice, or a cloned machine.
    DuplicateEngine {
        /// The other node.
        node_id: NodeId,
    },
    /// The engine answered a ping, but its description or its list of containers did not arrive within the
    /// limit.
    NotListed {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The engine failed.
    #[serde(untagged)]
    Engine(Failure),
}

impl From<Failure> for ProbeFailure {
    fn from(failure: Failure) -> Self {
        Self::Engine(failure)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn quotes_are_bounded_and_have_no_control_characters() {
        for text in
            ["", "plain", " padded ", "two\nlines\u{1b}[31m", "\u{0}", &"ü".repeat(5_000), &"x".repeat(1_000)]
        {
            let quote = Quote::new(text);
            assert!(quote.as_str().chars().count() <= Quote::LIMIT, "{text}");
            assert!(!quote.as_str().contains(char::is_control), "{text}");
            assert_eq!(Quote::new(quote.as_str()), quote, "quoting twice changes nothing");
        }
        assert_eq!(Quote::new("two\nlines").as_str(), "two lines");
        assert!(Quote::new(&"ü".repeat(1_001)).as_str().ends_with('…'));
    }

    #[test]
    fn failures_keep_their_fields_in_json() {
        let refused = r#"{"kind":"refused","quote":"no space left on device"}"#;
        let failure: ProbeFailure = serde_json::from_str(refused).unwrap();
        assert_eq!(failure, ProbeFailure::Engine(Failure::refused("no space left on device")));
        assert_eq!(serde_json::to_string(&failure).unwrap(), refused);
        let duplicate = ProbeFailure::DuplicateEngine { node_id: NodeId(Uuid::nil()) };
        let text = serde_json::to_string(&duplicate).unwrap();
        assert_eq!(serde_json::from_str::<ProbeFailure>(&text).unwrap(), duplicate);
    }
}
