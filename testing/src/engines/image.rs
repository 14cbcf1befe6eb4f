//! Images: their references, what they declare, and the health checks that run in them.

use super::program::Program;
use kdaemon_events::{HealthCommand, Spec};
use std::num::{NonZeroU32, NonZeroU64};

/// Completes an image reference: `busybox` is `docker.io/library/busybox:latest`.
pub(super) fn normal(image: &str) -> String {
    let (host, path) = match image.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("docker.io", image),
    };
    let path =
        if host == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
    let has_tag = path.contains('@') || path.rsplit('/').next().is_some_and(|last| last.contains(':'));
    format!("{host}/{path}{}", if has_tag { "" } else { ":latest" })
}

/// The paths that well-known images declare as volumes (`VOLUME` in their Dockerfiles).
pub(super) fn declared_volumes(image: &str) -> &'static [&'static str] {
    let name = image.rsplit('/').next().and_then(|last| last.split([':', '@']).next()).unwrap_or(image);
    match name {
        "postgres" => &["/var/lib/postgresql/data"],
        "mysql" | "mariadb" => &["/var/lib/mysql"],
        "redis" => &["/data"],
        _ => &[],
    }
}

/// When the engine reports the first result of the health check, in milliseconds after the start, and the result; `None`:
/// it checks nothing. Images have no check of their own here.
pub(super) fn health_check(spec: &Spec) -> Option<(u64, bool)> {
    let check = &spec.health_check;
    let words = match &check.command {
        HealthCommand::Inherited | HealthCommand::Disabled => return None,
        HealthCommand::Shell(line) => vec!["sh".to_owned(), "-c".to_owned(), line.clone()],
        HealthCommand::Exec { program, arguments } => {
            std::iter::once(program).chain(arguments).cloned().collect()
        }
    };
    // Docker's defaults (moby, `daemon/health.go`).
    let millis = |given: Option<NonZeroU64>, default| given.map_or(default, NonZeroU64::get);
    let interval_ms = millis(check.interval_ms, 30_000);
    let timeout_ms = millis(check.timeout_ms, 30_000);
    let start_period_ms = millis(check.start_period_ms, 0);
    let command = Spec { entrypoint: words, command: Vec::new(), ..spec.clone() };
    // A program that the image does not have fails the check.
    let end = Program::of(&command).ok().and_then(|program| program.end());
    let succeeds = end.is_some_and(|(after_ms, exit)| after_ms <= timeout_ms && exit.code == 0);
    let after_ms = if succeeds && start_period_ms > 0 {
        millis(check.start_interval_ms, 5_000)
    } else if succeeds {
        interval_ms
    } else {
        let checks = check.retries.map_or(3, NonZeroU32::get);
        start_period_ms.saturating_add(interval_ms.saturating_mul(checks.into()))
    };
    Some((after_ms, succeeds))
}
