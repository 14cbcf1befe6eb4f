//! Counts and numbers of processors as people write them (`3`, `"0.5"`), and the field `balance`, a number in kDaemon 0.0.

use kdaemon_events::MilliCpus;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;

/// The expected value of a count, as errors name it.
const COUNT: &str = "a whole number from 0 up";

/// A count from 0 to 2^32 - 1: `3` or `"3"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct LenientCount(pub(in crate::server) u32);

impl<'de> Deserialize<'de> for LenientCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl Visitor<'_> for CountVisitor {
            type Value = LenientCount;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(COUNT)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<LenientCount, E> {
                let count = u32::try_from(number).map(LenientCount);
                count.map_err(|_| E::custom(format!("{number} exceeds the maximum of {}", u32::MAX)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientCount, E> {
                match digits(text) {
                    Some(number) => self.visit_u64(number),
                    None => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(CountVisitor)
    }
}

/// A number of processors: `0.5` or `"0.5"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct LenientCpus(pub(in crate::server) MilliCpus);

impl<'de> Deserialize<'de> for LenientCpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CpusVisitor;
        impl Visitor<'_> for CpusVisitor {
            type Value = LenientCpus;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of processors such as 0.5")
            }
            fn visit_f64<E: de::Error>(self, cpus: f64) -> Result<LenientCpus, E> {
                MilliCpus::of(cpus).map(LenientCpus).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, cpus: u64) -> Result<LenientCpus, E> {
                self.visit_f64(u32::try_from(cpus).unwrap_or(u32::MAX).into())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientCpus, E> {
                match text.trim().parse() {
                    Ok(cpus) => self.visit_f64(cpus),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(CpusVisitor)
    }
}

/// Parses a text that consists of digits only.
pub(super) fn digits(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// `false` (or `"false"`) if a container is pinned to its node.
///
/// In kDaemon 0.0 the field is a number without a meaning for placement, which its clients send with every request: any
/// number is read as `true`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct LenientBalance(pub(in crate::server) bool);

impl<'de> Deserialize<'de> for LenientBalance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BalanceVisitor;
        impl Visitor<'_> for BalanceVisitor {
            type Value = LenientBalance;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, or a number (which means true)")
            }
            fn visit_bool<E: de::Error>(self, flag: bool) -> Result<LenientBalance, E> {
                Ok(LenientBalance(flag))
            }
            fn visit_u64<E: de::Error>(self, _number: u64) -> Result<LenientBalance, E> {
                Ok(LenientBalance(true))
            }
            fn visit_i64<E: de::Error>(self, _number: i64) -> Result<LenientBalance, E> {
                Ok(LenientBalance(true))
            }
            fn visit_f64<E: de::Error>(self, _number: f64) -> Result<LenientBalance, E> {
                Ok(LenientBalance(true))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<LenientBalance, E> {
                match text.trim().to_ascii_lowercase().as_str() {
                    "false" => Ok(LenientBalance(false)),
                    "true" => Ok(LenientBalance(true)),
                    number if number.parse::<f64>().is_ok_and(f64::is_finite) => Ok(LenientBalance(true)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(BalanceVisitor)
    }
}
