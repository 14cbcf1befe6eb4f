//! Adds the sentence on an event to the event's JSON.

use super::{Names, event};
use kdaemon_events::{CodecError, Envelope};
use std::fmt::Write as _;

/// Adds a field `says` to the JSON of a stored event: a sentence on what happened.
///
/// # Errors
/// When the text is not an event that this version knows.
pub fn with_sentence(names: Names<'_>, json: &str) -> Result<String, CodecError> {
    let envelope = Envelope::decode(json)?;
    let mut text = json.trim_end().to_owned();
    text.pop(); // the closing brace
    let says = serde_json::Value::String(event(names, &envelope));
    let _ = write!(text, ",\"says\":{says}}}"); // writing into a string cannot fail
    Ok(text)
}
