//! Envelopes in the form in which they are written, field by field in one order: what a log of ours has. A parser, which
//! has to be ready for every JSON text, takes several times as long; it reads whatever is not in this form.

use crate::envelope::{Actor, Envelope, Event, RequestId};
use crate::{EventId, Seq, time};
use uuid::Uuid;

/// Reads an envelope; `None` when its text is not in this form, whatever else it may be.
pub(crate) fn read(json: &str) -> Option<Envelope> {
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
        event: Event::decode(kind, u32::try_from(version).ok()?, data).ok()?,
    })
}

/// What follows these characters.
fn after<'a, const N: usize>(text: &'a [u8], begins: &[u8; N]) -> Option<&'a [u8]> {
    let (begin, rest) = text.split_first_chunk()?;
    (begin == begins).then_some(rest)
}

/// A number from 0 on, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let (digits, rest) = text.split_at(end);
    let digits = str::from_utf8(digits).ok().filter(|digits| *digits == "0" || !digits.starts_with('0'))?;
    Some((digits.parse().ok()?, rest))
}

/// A string in which nothing is escaped, and what follows it.
fn string(text: &[u8]) -> Option<(&str, &[u8])> {
    let text = after(text, b"\"")?;
    let end = text.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))?;
    let (string, rest) = text.split_at(end);
    Some((str::from_utf8(string).ok()?, after(rest, b"\"")?))
}

/// Nothing, or something, and what follows it.
fn nullable<'a, T>(
    text: &'a [u8],
    read: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> Option<(Option<T>, &'a [u8])> {
    match after(text, b"null") {
        Some(rest) => Some((None, rest)),
        None => read(text).map(|(value, rest)| (Some(value), rest)),
    }
}

/// An actor from the value of its type on, and what follows it.
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
    use crate::NodeId;
    use crate::node::NodeCordoned;
    use chrono::DateTime;

    #[test]
    fn what_is_written_is_in_this_form() {
        for actor in [Actor::Anonymous, Actor::reactor("prober"), Actor::Token { name: "alice".into() }] {
            for (request_id, cause) in [(None, None), (Some(RequestId("0af7".into())), Some(Seq(17)))] {
                let envelope = Envelope {
                    seq: Seq(18),
                    id: EventId(Uuid::from_u128(1)),
                    at: DateTime::from_timestamp(1_700_000_000, 5_000).unwrap(),
                    actor: actor.clone(),
                    request_id,
                    cause,
                    event: NodeCordoned { node_id: NodeId(Uuid::from_u128(2)) }.into(),
                };
                assert_eq!(read(&envelope.encode().unwrap()), Some(envelope));
            }
        }
    }
}
