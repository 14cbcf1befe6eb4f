//! A fast reader for envelopes in canonical form: the fields in the order in which we write them. A general
//! JSON parser takes several times as long; it reads every other form.

use crate::envelope::{Actor, CodecError, Envelope, Event, Kind, RequestId};
use crate::node::{NodeObserved, ProbeOutcome};
use crate::{EventId, NodeId, Seq, time};
use uuid::Uuid;

impl Envelope {
    /// Reads an envelope from its JSON text.
    ///
    /// # Errors
    /// As [`Event::decode`].
    pub fn decode(json: &str) -> Result<Self, CodecError> {
        read(json).map_or_else(|| Self::parse(json), Ok)
    }
}

/// Reads an envelope; `None` when the text is not in canonical form.
fn read(json: &str) -> Option<Envelope> {
    let (seq, rest) = number(after(json.as_bytes(), br#"{"seq":"#)?)?;
    let (id, rest) = after(rest, br#","id":""#)?.split_first_chunk::<36>()?;
    let (at, rest) = string(after(rest, br#"","at":"#)?)?;
    let (actor, rest) = actor(after(rest, br#","actor":{"type":"#)?)?;
    let (request_id, rest) = nullable(after(rest, br#","request_id":"#)?, string)?;
    let (cause, rest) = nullable(after(rest, br#","cause":"#)?, number)?;
    let (kind, rest) = string(after(rest, br#","kind":"#)?)?;
    let (version, rest) = number(after(rest, br#","v":"#)?)?;
    let rest = after(rest, br#","data":"#)?;
    let data = json.get(json.len() - rest.len()..)?.strip_suffix('}')?;
    Some(Envelope {
        seq: Seq(seq),
        id: EventId(Uuid::try_parse_ascii(id).ok()?),
        at: time::plain(at.as_bytes())?,
        actor,
        request_id: request_id.map(|id| RequestId(id.to_owned())),
        cause: cause.map(Seq),
        event: match probe(kind, version, data) {
            Some(observed) => observed.into(),
            None => Event::decode(kind, u32::try_from(version).ok()?, data).ok()?,
        },
    })
}

/// Reads the observation of a probe that found nothing new, which nearly all events of a log are.
fn probe(kind: &str, version: u64, data: &str) -> Option<NodeObserved> {
    if kind != Kind::NodeObserved.as_str() || version != 1 {
        return None;
    }
    let (node_id, rest) = after(data.as_bytes(), br#"{"node_id":""#)?.split_first_chunk::<36>()?;
    let rest = after(rest, br#"","outcome":{"result":"#)?;
    let (outcome, rest) = match string(rest)? {
        ("answered", rest) => {
            let (running, rest) = counted(rest, br#","running":"#)?;
            let (foreign, rest) = counted(rest, br#","foreign":"#)?;
            (ProbeOutcome::Answered { running, foreign }, rest)
        }
        _ => return None, // a failed probe has more to read
    };
    let (latency_ms, rest) = number(after(rest, br#"},"latency_ms":"#)?)?;
    (rest == b"}").then_some(NodeObserved {
        node_id: NodeId(Uuid::try_parse_ascii(node_id).ok()?),
        outcome,
        latency_ms: u32::try_from(latency_ms).ok()?,
        engine: None,
        orphans: Vec::new(),
    })
}

/// A name and the number after it, if present, and the rest of the text.
fn counted<'a, const N: usize>(text: &'a [u8], name: &[u8; N]) -> Option<(Option<u32>, &'a [u8])> {
    match after(text, name) {
        Some(rest) => {
            let (count, rest) = number(rest)?;
            Some((Some(u32::try_from(count).ok()?), rest))
        }
        None => Some((None, text)),
    }
}

/// The rest of the text after these characters.
fn after<'a, const N: usize>(text: &'a [u8], begins: &[u8; N]) -> Option<&'a [u8]> {
    let (begin, rest) = text.split_first_chunk()?;
    (begin == begins).then_some(rest)
}

/// A non-negative number, and the rest of the text.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let digits = str::from_utf8(digits).ok().filter(|digits| *digits == "0" || !digits.starts_with('0'))?;
    Some((digits.parse().ok()?, rest))
}

/// A string without escapes, and the rest of the text.
fn string(text: &[u8]) -> Option<(&str, &[u8])> {
    let text = after(text, b"\"")?;
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?;
    let (string, rest) = text.split_at(end);
    Some((str::from_utf8(string).ok()?, after(rest, b"\"")?))
}

/// `null` or a value, and the rest of the text.
fn nullable<'a, T>(
    text: &'a [u8],
    read: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> Option<(Option<T>, &'a [u8])> {
    match after(text, b"null") {
        Some(rest) => Some((None, rest)),
        None => read(text).map(|(value, rest)| (Some(value), rest)),
    }
}

/// An actor, from the value of its type on, and the rest of the text.
fn actor(text: &[u8]) -> Option<(Actor, &[u8])> {
    let (kind, rest) = string(text)?;
    if kind == "anonymous" {
        return Some((Actor::Anonymous, after(rest, b"}")?));
    }
    let (name, rest) = string(after(rest, br#","name":"#)?)?;
    let (name, rest) = (name.to_owned(), after(rest, b"}")?);
    match kind {
        "token" => Some((Actor::Token { name }, rest)),
        "reactor" => Some((Actor::Reactor { name }, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::failure::Failure;
    use crate::node::NodeCordoned;
    use crate::{ContainerId, Generation, PlacementId};
    use chrono::DateTime;

    fn envelope(event: impl Into<Event>) -> Envelope {
        Envelope {
            seq: Seq(18),
            id: EventId(Uuid::from_u128(1)),
            at: DateTime::from_timestamp(1_700_000_000, 5_000).unwrap(),
            actor: Actor::reactor("health"),
            request_id: None,
            cause: None,
            event: event.into(),
        }
    }

    #[test]
    fn written_times_are_in_the_fast_form() {
        for actor in [Actor::Anonymous, Actor::reactor("prober"), Actor::Token { name: "alice".into() }] {
            for (request_id, cause) in [(None, None), (Some(RequestId("0af7".into())), Some(Seq(17)))] {
                let cordoned = NodeCordoned { node_id: NodeId(Uuid::from_u128(2)) };
                let envelope = Envelope { actor: actor.clone(), request_id, cause, ..envelope(cordoned) };
                assert_eq!(read(&envelope.encode().unwrap()), Some(envelope));
            }
        }
    }

    #[test]
    fn canonical_probe_reader_agrees_with_the_parser() {
        let counts = [None, Some(0), Some(u32::MAX)];
        let answered = counts
            .iter()
            .flat_map(|running| counts.map(|foreign| ProbeOutcome::Answered { running: *running, foreign }));
        let failed = ["", "no connection: refused", "ein \"Wort\" und \u{e9}"]
            .map(|quote| ProbeOutcome::Failed { failure: Failure::refused(quote).into() });
        for outcome in answered.chain(failed) {
            let is_plain = matches!(&outcome, ProbeOutcome::Answered { .. });
            let node_id = NodeId(Uuid::from_u128(7));
            let observed =
                NodeObserved { node_id, outcome, latency_ms: 12, engine: None, orphans: Vec::new() };
            let data = serde_json::to_string(&observed).unwrap();
            assert_eq!(probe("NodeObserved", 1, &data), is_plain.then(|| observed.clone()), "{data}");
            let envelope = envelope(observed.clone());
            assert_eq!(read(&envelope.encode().unwrap()), Some(envelope));
            let orphan =
                PlacementId { container_id: ContainerId(Uuid::from_u128(8)), generation: Generation(1) };
            let news = serde_json::to_string(&NodeObserved { orphans: vec![orphan], ..observed }).unwrap();
            assert_eq!(probe("NodeObserved", 1, &news), None, "{news}");
            for end in 0..data.len() {
                assert_eq!(
                    probe("NodeObserved", 1, data.get(..end).unwrap_or_default()),
                    None,
                    "{data} cut to {end}"
                );
            }
        }
    }
}
