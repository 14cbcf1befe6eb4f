//! Health checks: what an engine runs inside a container, in the terms of Docker's API (`HealthConfig`).

use crate::spec_error::SpecError;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// The health check of a container. A part without a value is the image's, or else Docker's default.
///
/// As JSON, the command is in Docker's form, and a check that is switched off is `{"disable": true}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "HealthCheckForm", into = "HealthCheckForm")]
pub struct HealthCheck {
    /// The command that checks the container.
    pub command: HealthCommand,
    /// Interval between two checks, in milliseconds (Docker's default: 30 s).
    pub interval_ms: Option<NonZeroU64>,
    /// Timeout of one check, in milliseconds (Docker's default: 30 s).
    pub timeout_ms: Option<NonZeroU64>,
    /// Consecutive failed checks that make the container unhealthy (Docker's default: 3).
    pub retries: Option<NonZeroU32>,
    /// Time after the start during which failed checks do not count, in milliseconds (Docker's default: none).
    pub start_period_ms: Option<NonZeroU64>,
    /// Interval between two checks during the start period, in milliseconds (Docker's default: 5 s).
    pub start_interval_ms: Option<NonZeroU64>,
}

impl HealthCheck {
    /// `true` if the image's own check, if it has one, runs unchanged.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The command of a health check (the `Test` of Docker's API).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum HealthCommand {
    /// The command of the image's own check; without one, nothing is checked.
    #[default]
    Inherited,
    /// No command: the image's own check is switched off.
    Disabled,
    /// A line that the container's shell runs.
    Shell(String),
    /// A program that is run without a shell.
    Exec {
        /// The program.
        program: String,
        /// The arguments of the program.
        arguments: Vec<String>,
    },
}

impl HealthCommand {
    /// Reads the form of Docker's API: `[]`, `["NONE"]`, `["CMD-SHELL", LINE]` or `["CMD", PROGRAM, ARGUMENT…]`.
    ///
    /// # Errors
    /// When the list has another form.
    pub fn from_docker(words: Vec<String>) -> Result<Self, SpecError> {
        let mut words = words.into_iter();
        let Some(form) = words.next() else { return Ok(Self::Inherited) };
        match (form.as_str(), words.next()) {
            // The engine ignores further words.
            ("NONE", _) => Ok(Self::Disabled),
            ("CMD-SHELL", Some(line)) if words.as_slice().is_empty() => Ok(Self::Shell(line)),
            ("CMD-SHELL", _) => Err(SpecError(
                "CMD-SHELL takes one string, as in [\"CMD-SHELL\", \"curl -f localhost\"]".into(),
            )),
            ("CMD", Some(program)) => Ok(Self::Exec { program, arguments: words.collect() }),
            ("CMD", None) => {
                Err(SpecError("CMD takes a program, as in [\"CMD\", \"curl\", \"-f\", \"localhost\"]".into()))
            }
            (other, _) => Err(SpecError(format!(
                "expected a list that begins with CMD, CMD-SHELL or NONE, got `{other}` as its first word"
            ))),
        }
    }

    /// Switches the check off.
    ///
    /// # Errors
    /// When there is a command, which contradicts that.
    pub fn disabled(self) -> Result<Self, SpecError> {
        match self {
            Self::Inherited | Self::Disabled => Ok(Self::Disabled),
            Self::Shell(_) | Self::Exec { .. } => {
                Err(SpecError("a disabled health check has no command; remove `command` or `disable`".into()))
            }
        }
    }

    /// The command in the form that [`Self::from_docker`] reads.
    #[must_use]
    pub fn to_docker(&self) -> Vec<String> {
        match self {
            Self::Inherited => Vec::new(),
            Self::Disabled => vec!["NONE".to_owned()],
            Self::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Self::Exec { program, arguments } => {
                let start = ["CMD".to_owned(), program.clone()];
                start.into_iter().chain(arguments.iter().cloned()).collect()
            }
        }
    }
}

/// The JSON form of a [`HealthCheck`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HealthCheckForm {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    command: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    interval_ms: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_period_ms: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_interval_ms: Option<NonZeroU64>,
}

impl From<HealthCheck> for HealthCheckForm {
    fn from(check: HealthCheck) -> Self {
        let disable = check.command == HealthCommand::Disabled;
        Self {
            command: if disable { Vec::new() } else { check.command.to_docker() },
            disable,
            interval_ms: check.interval_ms,
            timeout_ms: check.timeout_ms,
            retries: check.retries,
            start_period_ms: check.start_period_ms,
            start_interval_ms: check.start_interval_ms,
        }
    }
}

impl TryFrom<HealthCheckForm> for HealthCheck {
    type Error = SpecError;

    fn try_from(form: HealthCheckForm) -> Result<Self, SpecError> {
        let command = HealthCommand::from_docker(form.command)?;
        Ok(Self {
            command: if form.disable { command.disabled()? } else { command },
            interval_ms: form.interval_ms,
            timeout_ms: form.timeout_ms,
            retries: form.retries,
            start_period_ms: form.start_period_ms,
            start_interval_ms: form.start_interval_ms,
        })
    }
}
