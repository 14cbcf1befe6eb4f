//! The program: parses its arguments and runs the command.

use clap::Parser as _;
use kdaemon::cli::Cli;
use std::process::ExitCode;

/// About half of the daemon's work on a request is allocating and freeing small pieces of memory (measured by
/// `scripts/bench journal`), for which the system's allocator takes twice the time. (Replacing the C
/// allocator too, for SQLite, would save another 6 %; but then a process with libfaketime preloaded crashes
/// at start.)
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One of the threads may wait for the disk, where a command is made durable; the others continue
    // meanwhile.
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    match tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime.block_on(cli.run()),
        Err(error) => {
            eprintln!("kdaemon: the runtime could not be started: {error}");
            ExitCode::FAILURE
        }
    }
}
