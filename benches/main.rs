//! What kDaemon is measured by: `scripts/bench` runs this.
//!
//! Each figure is printed beside its limit. Where there is a peer (the engines' own API, etcd, the disk) it is
//! measured in the same run, by the same tool, and the limit is for the ratio: so that a figure says the same on any
//! machine. Nothing here is a test: it ends well whatever the figures are.

#![allow(clippy::expect_used)] // a bench that cannot go on says why and ends

mod figures;
mod history;
mod http;
mod journal;
mod launch;
mod recovery;
mod rethinkdb;
mod scale;
mod scheduler;
mod site;
#[path = "../tests/support/mod.rs"]
mod support;

use figures::Table;

/// The same as the program's: `scale` runs the daemon in this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs, and enters what it measured.
type Bench = fn(&mut Table);

/// The benches by name, in the order in which they run.
const BENCHES: [(&str, Bench); 8] = [
    ("launch", launch::run),
    ("recovery", recovery::run),
    ("journal", journal::run),
    ("rethinkdb", rethinkdb::run),
    ("scale", scale::run),
    ("scheduler", scheduler::run),
    ("c1m", scheduler::run_c1m),
    ("history", history::run),
];

fn main() -> std::process::ExitCode {
    // `cargo bench` adds a flag of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, rest @ ..] = arguments.as_slice()
        && let Some(role) = role.strip_prefix("--role=")
    {
        match (role, rest) {
            ("c1m", rest) => scheduler::place_a_million(rest),
            ("history-serve", [dir]) => history::serve(dir.as_ref()),
            (role, rest) => scale::play(role, rest),
        }
        return std::process::ExitCode::SUCCESS;
    }
    let known = |name: &String| BENCHES.iter().any(|(known, _)| known == name);
    if let Some(unknown) = arguments.iter().find(|name| !known(name)) {
        let names = BENCHES.map(|(name, _)| name).join(", ");
        eprintln!("there is no bench `{unknown}`; there are {names}");
        return std::process::ExitCode::from(2);
    }
    let mut table = Table::default();
    for (name, bench) in BENCHES {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            bench(&mut table);
        }
    }
    table.finish();
    std::process::ExitCode::SUCCESS
}
