//! Conversions of store, daemon and archive errors to failures of the command line.

use crate::archive::ArchiveError;
use crate::cli::error::CliError;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::store::StoreError;

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Unavailable(_) | StoreError::Unsettled(_) => Self::Unreachable(text),
            StoreError::InUse(_) => Self::Invalid(text),
            StoreError::Conflict { .. } | StoreError::Damaged(_) | StoreError::Unsupported(_) => {
                Self::Other(text)
            }
        }
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        match error {
            DaemonError::Config(error) => error.into(),
            DaemonError::Store(error) => error.into(),
            DaemonError::NoLog { .. } => Self::NotFound(error.to_string()),
            DaemonError::LocalEndpoint(_) => Self::Usage(error.to_string()),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<ArchiveError> for CliError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Store(error) => error.into(),
            ArchiveError::Exists(_) | ArchiveError::NotEmpty { .. } => Self::Invalid(error.to_string()),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<tokio::task::JoinError> for CliError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Other(error.to_string())
    }
}
