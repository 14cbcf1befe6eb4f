//! The sentence beside an event's own JSON.

use super::{Names, event};
use kdaemon_events::{CodecError, Envelope};
use std::fmt::Write as _;

/// The JSON of a stored event with one more field, `says`: what happened, in one sentence.
///
/// # Errors
/// When the text is not an event that this program knows.
pub fn beside(names: Names<'_>, json: &str) -> Result<String, CodecError> {
    let envelope = Envelope::decode(json)?;
    let mut text = json.trim_end().to_owned();
    text.pop(); // the closing brace
    let says = serde_json::Value::String(event(names, &envelope));
    let _ = write!(text, ",\"says\":{says}}}"); // writing into a string cannot fail
    Ok(text)
}
