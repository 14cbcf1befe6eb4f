//! The options for the health check of an application.

use super::fields::put;
use kdaemon_events::HealthCheck;
use serde_json::{Map, Value, json};

/// The options, with the names that `docker run` has for them.
#[derive(Debug, Default, clap::Args)]
pub(super) struct HealthCheckFields {
    /// Health check command: a line for the shell of the container, or a JSON list of words to run a program without a shell
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two health checks
    #[arg(long, value_name = "TIME")]
    health_interval: Option<String>,
    /// Timeout of a health check
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<String>,
    /// Number of consecutive failures that make a container unhealthy
    #[arg(long, value_name = "N")]
    health_retries: Option<u32>,
    /// Time after the start during which failures do not count
    #[arg(long, value_name = "TIME")]
    health_start_period: Option<String>,
    /// Time between two health checks during the start period
    #[arg(long, value_name = "TIME")]
    health_start_interval: Option<String>,
    /// Switch off the health check, that of the image included
    #[arg(long, visible_alias = "no-healthcheck", conflicts_with_all = ["health_cmd", "health_interval", "health_timeout",
        "health_retries", "health_start_period", "health_start_interval"])]
    no_health_check: bool,
}

impl HealthCheckFields {
    /// `true` if no option is given.
    pub(super) fn is_empty(&self) -> bool {
        self.merged(None).is_none()
    }

    /// The given options merged into the health check of a row; `None` if none is given.
    pub(super) fn merged(&self, before: Option<&HealthCheck>) -> Option<Value> {
        if self.no_health_check {
            return Some(json!({"disable": true}));
        }
        let mut given = Map::new();
        put(&mut given, "command", self.health_cmd.as_deref().map(command_of));
        put(&mut given, "interval_ms", self.health_interval.as_deref());
        put(&mut given, "timeout_ms", self.health_timeout.as_deref());
        put(&mut given, "retries", self.health_retries);
        put(&mut given, "start_period_ms", self.health_start_period.as_deref());
        put(&mut given, "start_interval_ms", self.health_start_interval.as_deref());
        if given.is_empty() {
            return None;
        }
        let mut check = match json!(before) {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        if given.contains_key("command") {
            check.remove("disable");
        }
        check.extend(given);
        Some(Value::Object(check))
    }
}

/// A command as the API takes it: a JSON list as a list, and anything else as a line.
fn command_of(text: &str) -> Value {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) => json!(words),
        Err(_) => json!(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use clap::{Args as _, Command, FromArgMatches as _};

    fn fields(line: &[&str]) -> HealthCheckFields {
        let command = HealthCheckFields::augment_args(Command::new("test").no_binary_name(true));
        HealthCheckFields::from_arg_matches(&command.try_get_matches_from(line).unwrap()).unwrap()
    }

    #[test]
    fn given_options_are_merged_into_the_present_check() {
        let check = |value: Value| serde_json::from_value::<HealthCheck>(value).unwrap();
        let before = check(json!({"command": ["CMD", "/check"], "timeout_ms": 500}));
        let off = check(json!({"disable": true}));
        for (line, before, expected) in [
            (vec![], Some(&before), None),
            (vec!["--health-interval", "5s"], None, Some(json!({"interval_ms": "5s"}))),
            (
                vec!["--health-interval", "5s", "--health-retries", "2"],
                Some(&before),
                Some(
                    json!({"command": ["CMD", "/check"], "timeout_ms": 500, "interval_ms": "5s", "retries": 2}),
                ),
            ),
            (
                vec!["--health-cmd", "[ -f /up ]"],
                Some(&before),
                Some(json!({"command": "[ -f /up ]", "timeout_ms": 500})),
            ),
            (
                vec!["--health-cmd", r#"["CMD", "/check", "a b"]"#],
                Some(&off),
                Some(json!({"command": ["CMD", "/check", "a b"]})),
            ),
            (vec!["--no-health-check"], Some(&before), Some(json!({"disable": true}))),
        ] {
            assert_eq!(fields(&line).merged(before), expected, "{line:?} on {before:?}");
            assert_eq!(fields(&line).is_empty(), expected.is_none(), "{line:?}");
        }
    }
}
