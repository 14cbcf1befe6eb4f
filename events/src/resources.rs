//! Processors and memory: what a container may use, and what is reserved for it.

use crate::spec_error::SpecError;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A number of processors in thousandths; written as a number of processors (`0.5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MilliCpus(pub u64);

impl MilliCpus {
    /// The thousandths of a number of processors, rounded.
    ///
    /// # Errors
    /// When the number is negative or above 100,000.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked first
    pub fn of(cpus: f64) -> Result<Self, SpecError> {
        if !(0.0..=100_000.0).contains(&cpus) {
            return Err(SpecError(format!(
                "expected a number of processors from 0 to 100000 (0.5 is half of one), got {cpus}"
            )));
        }
        Ok(Self((cpus * 1000.0).round() as u64))
    }

    /// The number of processors.
    #[allow(clippy::cast_precision_loss)] // a machine has fewer than 2^52 thousandths of a processor
    fn cpus(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

impl fmt::Display for MilliCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cpus().fmt(f)
    }
}

impl Serialize for MilliCpus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cpus())
    }
}

impl<'de> Deserialize<'de> for MilliCpus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(f64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The limits of a container, which its engine enforces, and its reservations, by which the scheduler goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Limit of processors; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<MilliCpus>,
    /// Limit of memory, in bytes; `None`: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Reserved processors, at most the limit; `None`: as many as the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_cpus: Option<MilliCpus>,
    /// Reserved memory, in bytes, at most the limit; `None`: as much as the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_memory_bytes: Option<u64>,
}

impl Resources {
    /// `true` if there is neither a limit nor a reservation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The reservation on the container's node. A limit without a reservation is reserved.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation {
            millicpus: self.reserved_cpus.or(self.cpus).map_or(0, |cpus| cpus.0),
            memory_bytes: self.reserved_memory_bytes.or(self.memory_bytes).unwrap_or(0),
        }
    }
}

/// A part of a node that the scheduler gives to no other container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reservation {
    /// Processors, in thousandths.
    pub millicpus: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}
