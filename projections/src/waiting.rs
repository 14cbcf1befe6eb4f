//! What containers wait for: their dependencies, and times.

use crate::cluster::Cluster;
use crate::{Application, Container, PhaseKind};
use chrono::{DateTime, TimeDelta, Utc};
use kdaemon_events::ApplicationId;

impl Cluster {
    /// The first application that this one depends on and of which no container serves or has completed; `None`: all
    /// dependencies are met.
    #[must_use]
    pub fn unmet_dependency(&self, application: &Application) -> Option<ApplicationId> {
        let is_met =
            |id: &ApplicationId| self.applications.get(id).is_some_and(|dependency| dependency.serving > 0);
        application.dependencies.iter().copied().find(|id| !is_met(id))
    }

    /// When a container without a health check serves if nothing happens to it; `None`: time alone changes nothing.
    #[must_use]
    pub fn ready_at(&self, container: &Container) -> Option<DateTime<Utc>> {
        let since = container.up_since().filter(|_| container.is_settling())?;
        let application = container.application_id.and_then(|id| self.applications.get(&id));
        let update = application.map(|application| application.update).unwrap_or_default();
        let min_ready = TimeDelta::milliseconds(i64::try_from(update.min_ready_ms).unwrap_or(i64::MAX));
        Some(since.checked_add_signed(min_ready).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// Nothing is attempted for a container before this time; `None`: at once. A failed one is tried at once when what made
    /// it fail may be over.
    #[must_use]
    pub fn next_try(&self, container: &Container) -> Option<DateTime<Utc>> {
        let attempts = container.phase.attempts()?;
        let is_new_chance =
            container.phase.kind() == PhaseKind::Failed && attempts.failed_at < self.chance_at;
        attempts.not_before.filter(|_| !is_new_chance)
    }
}
