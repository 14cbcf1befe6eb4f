//! Events as received from the daemon.

use super::error::CliError;
use super::json::Json;
use super::table::plain;
use kdaemon_api::EventRow;
use kdaemon_events::Event;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The event that a row shows; `None` if only a newer program knows its kind.
pub(super) fn recorded(row: &EventRow) -> Option<Event> {
    Event::decode(&row.kind, row.v, &row.data.to_string()).ok()
}

/// The sentence of an event, followed by the main value that the event sets and the sentence leaves out.
pub(super) fn what(row: &EventRow) -> String {
    let value = match recorded(row) {
        Some(Event::NodeMounted(e)) => Some(e.endpoint.to_string()),
        Some(Event::NodeUpdated(e)) => e.endpoint.map(|endpoint| endpoint.to_string()),
        Some(Event::ApplicationCreated(e)) => Some(e.spec.docker_image),
        Some(Event::ApplicationUpdated(e)) => e.spec.map(|spec| spec.docker_image),
        Some(Event::ContainerLaunched(e)) => e.access_link,
        _ => None,
    };
    let value = value.map(|value| format!(" ({})", plain(&value))).unwrap_or_default();
    format!("{}{value}", plain(&row.says))
}

/// An event as the daemon sent it, and typed.
#[derive(Debug, Clone)]
pub(super) struct SentEvent {
    /// The exact text of the event.
    text: Box<RawValue>,
    pub(super) row: EventRow,
}

impl SentEvent {
    /// The exact text of the event, in one line.
    pub(super) fn text(&self) -> &str {
        self.text.get()
    }

    /// The event with its fields in the order of the daemon.
    pub(super) fn json(&self) -> Result<Json, CliError> {
        serde_json::from_str(self.text()).map_err(|error| CliError::Other(error.to_string()))
    }
}

impl<'de> Deserialize<'de> for SentEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let row = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self { text, row })
    }
}
