//! What the command line does besides running the daemon.

mod backup;
mod daemon;
mod verify;

pub use backup::{BackupArgs, RestoreArgs, backup, restore};
pub use verify::{VerifyArgs, verify};

use crate::config::{Config, ConfigError, ServeArgs};
use std::path::PathBuf;

/// Why a command did not do what it was asked. Each message is one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CliError(String);

impl CliError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Where the log is.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct StoreArgs {
    /// The configuration file of the daemon.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder of the daemon.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The daemon's settings, as it would have them itself.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn load(self) -> Result<Config, ConfigError> {
        let args = ServeArgs { config: self.config, data_dir: self.data_dir, ..ServeArgs::default() };
        Config::load(&args, std::env::vars_os())
    }
}

/// A bar on the terminal, or nothing where there is none.
fn progress_bar(unit: &str) -> indicatif::ProgressBar {
    use std::io::IsTerminal as _;
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::no_length();
    let template = match unit {
        "bytes" => "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, {eta} left".to_owned(),
        _ => format!("{{msg}} {{wide_bar}} {{human_pos}} of {{human_len}} {unit}, {{eta}} left"),
    };
    if let Ok(style) = indicatif::ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// Tells how many events were checked, of how many as far as is known.
fn tell(bar: &indicatif::ProgressBar, checked: u64, of: u64) {
    bar.set_length(of.max(checked));
    bar.set_position(checked);
}
