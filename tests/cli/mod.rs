//! The command line as people and scripts use it: transcripts of the program against real daemons.
//!
//! `SNAPSHOTS=overwrite cargo nextest run --test black_box cli::` rewrites them: read the difference before you commit it.

mod behaviour;
mod https;
mod on_engines;
mod past;
mod shell;

use crate::support::daemon::Daemon;
use shell::Shell;

/// Compares a transcript with the present output of its commands.
macro_rules! transcript {
    ($shell:expr, $name:literal) => {{
        let wanted = include_str!(concat!("transcripts/", $name, ".txt"));
        let actual = $shell.replay(wanted).await;
        snapbox::Assert::new()
            .action_env(snapbox::assert::DEFAULT_ACTION_ENV)
            .eq(actual, snapbox::Data::read_from(&$crate::cli::shell::path($name), None).raw());
    }};
}
pub(crate) use transcript;

#[tokio::test(flavor = "multi_thread")]
async fn library_transcript() {
    let daemon = Daemon::start().await;
    transcript!(Shell::new(&daemon.url("//")), "library");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_transcript() {
    let daemon = Daemon::start().await;
    transcript!(Shell::new(&daemon.url("//")), "nodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn compose_plan_transcript() {
    let daemon = Daemon::start().await;
    transcript!(Shell::new(&daemon.url("//")), "plan");
}
