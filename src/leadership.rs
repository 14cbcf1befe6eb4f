//! The right of a daemon to lead, as long as its lease holds: what its reactors check before they act.

use kdaemon_events::Term;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

/// Leadership, which lasts as long as the lease holds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Leadership {
    /// The term.
    pub term: Term,
    /// When the lease ends; `None`: never.
    until: Option<Arc<Mutex<Instant>>>,
}

impl Leadership {
    /// Leadership that never lapses, where no other daemon can exist.
    #[must_use]
    pub fn permanent(term: Term) -> Self {
        Self { term, until: None }
    }

    pub(crate) fn until(term: Term, until: Instant) -> Self {
        Self { term, until: Some(Arc::new(Mutex::new(until))) }
    }

    /// Whether the lease holds. A process that was suspended finds out here that it does not.
    #[must_use]
    pub fn holds(&self) -> bool {
        let until = |until: &Arc<Mutex<Instant>>| *until.lock().unwrap_or_else(PoisonError::into_inner);
        self.until.as_ref().is_none_or(|shared| Instant::now() < until(shared))
    }

    pub(crate) fn extend(&self, to: Instant) {
        if let Some(until) = &self.until {
            *until.lock().unwrap_or_else(PoisonError::into_inner) = to;
        }
    }
}
