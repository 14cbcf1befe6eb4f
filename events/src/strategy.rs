//! Placement strategies: how one of the suitable nodes is chosen.

use crate::spec_error::SpecError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How one of the suitable nodes is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The node with the fewest containers.
    #[default]
    Spread,
    /// The node with the largest reserved share of its processors or memory; ties go to the most containers.
    Binpack,
    /// The node with the smallest reserved share of its processors or memory; ties go to the fewest
    /// containers.
    Resources,
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Spread, Self::Binpack, Self::Resources];

    /// The name used in configuration and API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Binpack => "binpack",
            Self::Resources => "resources",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Strategy {
    type Err = SpecError;
    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == text).ok_or_else(|| {
            SpecError(format!("`{text}` is not a strategy; write spread, binpack or resources"))
        })
    }
}
