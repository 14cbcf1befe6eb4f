//! The program: parses its arguments and runs what they say.

use clap::Parser as _;
use kdaemon::cli::Cli;
use std::process::ExitCode;

/// Half of what the daemon does for a request is small pieces of memory taken and given back (measured by
/// `scripts/bench journal`): the system's allocator takes twice the time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            eprintln!("kdaemon: the runtime could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
