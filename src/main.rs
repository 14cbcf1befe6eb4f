//! The program: parses its arguments and runs what they say.

use clap::Parser as _;
use kdaemon::cli::Cli;
use std::process::ExitCode;

/// Half of what the daemon does for a request is small pieces of memory taken and given back (measured by
/// `scripts/bench journal`): the system's allocator takes twice the time for it. (In the place of the system's, for SQLite too, it
/// would save 6 % more; but then a process that has libfaketime preloaded crashes at its start.)
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One of them may wait for the disk, where a command is made durable; the others go on meanwhile.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            eprintln!("kdaemon: the runtime could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
