//! Strategies: how a node is chosen among those that fit.

use crate::SpecError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a node is chosen among those that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The node with the fewest containers.
    #[default]
    Spread,
    /// The node with the largest reserved share of its processors or memory; of equals the one with the most containers.
    Binpack,
    /// The node with the smallest reserved share of its processors or memory; of equals the one with the fewest
    /// containers.
    Resources,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Spread, Self::Binpack, Self::Resources];

    /// As it is written.
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
