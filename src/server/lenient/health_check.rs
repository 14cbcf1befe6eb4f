//! Health checks in the forms in which people write them.

use super::shell_words::CommandLine;
use super::{InputHint, LenientBool, LenientCount, LenientDuration, any_of};
use kdaemon_events::{HealthCheck, HealthCommand, SpecError};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Health check that the engine runs in a container. A part that is absent or 0 is the image's, or else Docker's default.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct HealthCheckInput {
    /// Command: the container's shell runs a string, or a list of one string; a longer list is a program with its arguments,
    /// which runs without a shell. A list that begins with `CMD`, `CMD-SHELL` or `NONE` is read as Docker's `Test`.
    #[serde(alias = "test")]
    command: Option<LenientHealthCommand>,
    /// Interval between two checks in milliseconds, or with a unit (`30s`); 30 s by default.
    #[serde(alias = "interval")]
    interval_ms: Option<LenientDuration>,
    /// Timeout of one check in milliseconds, or with a unit (`5s`); 30 s by default.
    #[serde(alias = "timeout")]
    timeout_ms: Option<LenientDuration>,
    /// Consecutive failed checks after which the container is unhealthy; 3 by default.
    retries: Option<LenientCount>,
    /// Time after the start during which failed checks do not count, in milliseconds, or with a unit (`1m`); none by
    /// default.
    #[serde(alias = "start_period")]
    start_period_ms: Option<LenientDuration>,
    /// Interval between two checks during the start period, in milliseconds, or with a unit (`1s`); 5 s by default.
    /// Engines before Docker 25 ignore it.
    #[serde(alias = "start_interval")]
    start_interval_ms: Option<LenientDuration>,
    /// `true` to switch the check off, the image's own one included.
    disable: Option<LenientBool>,
}

/// A health check as [`HealthCheckInput`] describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "HealthCheckInput")]
pub(in crate::server) struct LenientHealthCheck(pub(in crate::server) HealthCheck);

impl TryFrom<HealthCheckInput> for LenientHealthCheck {
    type Error = SpecError;

    fn try_from(input: HealthCheckInput) -> Result<Self, SpecError> {
        let millis = |duration: Option<LenientDuration>| {
            duration.map(LenientDuration::or_millis).and_then(NonZeroU64::new)
        };
        let command = input.command.map(|command| command.0).unwrap_or_default();
        Ok(Self(HealthCheck {
            command: if input.disable == Some(LenientBool(true)) { command.disabled()? } else { command },
            interval_ms: millis(input.interval_ms),
            timeout_ms: millis(input.timeout_ms),
            retries: input.retries.and_then(|retries| NonZeroU32::new(retries.0)),
            start_period_ms: millis(input.start_period_ms),
            start_interval_ms: millis(input.start_interval_ms),
        }))
    }
}

/// The command of a health check.
#[derive(Debug, Clone)]
struct LenientHealthCommand(HealthCommand);

impl<'de> Deserialize<'de> for LenientHealthCommand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let command = match CommandLine::deserialize(deserializer)? {
            CommandLine::Text(line) => HealthCommand::Shell(line),
            CommandLine::List(words) => match words.as_slice() {
                [] => HealthCommand::Inherited,
                [first, ..] if matches!(first.as_str(), "CMD" | "CMD-SHELL" | "NONE") => {
                    HealthCommand::from_docker(words).map_err(de::Error::custom)?
                }
                [line] => HealthCommand::Shell(line.clone()),
                [program, arguments @ ..] => {
                    HealthCommand::Exec { program: program.clone(), arguments: arguments.to_vec() }
                }
            },
        };
        Ok(Self(command))
    }
}

impl PartialSchema for LenientHealthCommand {
    fn schema() -> RefOr<Schema> {
        any_of(&[Type::String, Type::Array], InputHint::HealthCommand)
    }
}

impl ToSchema for LenientHealthCommand {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("LenientHealthCommand")
    }
}
