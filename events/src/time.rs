//! Times in events.

use chrono::{DateTime, NaiveDate, Utc};
use serde::de::{self, Deserializer, Visitor};
use std::fmt;

/// Reads a time (RFC 3339). Events use a single form, which is read much faster than any other.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    struct Reader;
    impl Visitor<'_> for Reader {
        type Value = DateTime<Utc>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time (RFC 3339)")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if let Some(time) = plain(text.as_bytes()) {
                return Ok(time);
            }
            DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(Reader)
}

/// Reads a time of the form 2026-01-31T12:00:00.123456Z with zero to nine decimals; `None` for every other
/// form, and for one that needs a full parser.
pub(crate) fn plain(text: &[u8]) -> Option<DateTime<Utc>> {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_u32, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0'))
        })
    };
    let text = text.strip_suffix(b"Z")?;
    let (whole, fraction) = text.split_at_checked(19)?;
    let separators = [whole[4], whole[7], whole[10], whole[13], whole[16]];
    if separators != *b"--T::" {
        return None;
    }
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let missing = u32::try_from(9 - digits.len()).ok()?;
            number(digits)? * 10_u32.pow(missing)
        }
        _ => return None,
    };
    let year = i32::try_from(number(&whole[..4])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(&whole[5..7])?, number(&whole[8..10])?)?;
    let (hour, minute, second) = (number(&whole[11..13])?, number(&whole[14..16])?, number(&whole[17..])?);
    Some(date.and_hms_nano_opt(hour, minute, second, nanos)?.and_utc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fast_time_parser_agrees_with_chrono() {
        for text in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.1Z",
            "2026-01-31T23:59:59.123456Z",
            "1900-02-28T00:00:00.123456789Z",
            "2024-02-29T00:00:00.000001Z",
            "0001-01-01T00:00:00Z",
        ] {
            let wanted = DateTime::parse_from_rfc3339(text).unwrap();
            assert_eq!(plain(text.as_bytes()), Some(wanted.to_utc()), "{text}");
        }
    }

    #[test]
    fn other_forms_are_left_to_chrono() {
        for text in [
            "",
            "Z",
            "2026-01-31T12:00:00+02:00",
            "2026-01-31 12:00:00Z",
            "2026-01-31T12:00:60Z",
            "2026-02-30T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00.1234567890Z",
            "2026-01-31T12:00:0aZ",
            "+2026-01-31T12:00:0Z",
            "12026-01-31T12:00:00Z",
        ] {
            assert_eq!(plain(text.as_bytes()), None, "{text}");
        }
    }
}
