//! The benches of kDaemon; `scripts/bench` builds and runs this program.
//!
//! Each figure is printed with its limit. Where there is a peer (the engines' own API, etcd, the disk), the same tool
//! measures it in the same run and the limit applies to the ratio, so that a figure means the same on every machine. The
//! benches are no tests: the exit status is 0 whether or not the limits are met.

#![allow(clippy::expect_used)] // a bench that cannot continue panics with the reason

mod against;
mod figures;
mod history;
mod http;
mod journal;
mod launch;
mod machine;
mod recovery;
mod report;
mod rethinkdb;
mod scale;
mod scheduler;
mod site;
#[path = "../tests/support/mod.rs"]
mod support;
mod ui;

use figures::{Table, progress};
use std::path::PathBuf;

/// The allocator of the program: `scale`, `c1m` and `history` run the daemon in this one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bench.
struct Bench {
    name: &'static str,
    /// One line: what is measured, and against what.
    about: &'static str,
    run: fn(&mut Table),
}

/// All benches, in the order in which they run.
const BENCHES: [Bench; 9] = [
    Bench {
        name: "launch",
        about: "40 containers launched through the daemon on 4 real Docker engines, against the same 40 launched through \
                the engines' own API in parallel",
        run: launch::run,
    },
    Bench {
        name: "recovery",
        about: "one of 4 real engines is lost: time until its 10 containers are UP on other nodes, in parts, at default \
                settings",
        run: recovery::run,
    },
    Bench {
        name: "journal",
        about: "durable commands over HTTP on SQLite, against durable puts to etcd on the same disk, by the same client",
        run: journal::run,
    },
    Bench {
        name: "rethinkdb",
        about: "durable commands over HTTP on RethinkDB, against inserts of the same document by the driver alone, and \
                against SQLite",
        run: rethinkdb::run,
    },
    Bench {
        name: "scale",
        about: "a daemon with 1,000 simulated nodes and 100,000 containers: start, reads while events flow, memory",
        run: scale::run,
    },
    Bench {
        name: "scheduler",
        about: "the scheduler alone with 10,000 nodes and 1,000,000 containers: one placement, and the plan after losing \
                500 nodes",
        run: scheduler::run,
    },
    Bench {
        name: "c1m",
        about: "1,000,000 containers placed on 5,000 nodes through journal and SQLite, every event durable",
        run: scheduler::run_c1m,
    },
    Bench {
        name: "history",
        about: "a log of 10,000,000 events (or BENCH_EVENTS): folded, verified, opened, searched, and read at any moment",
        run: history::run,
    },
    Bench {
        name: "ui",
        about: "the web UI in Chromium with 1,000 nodes, 20,000 containers and 1,000 events per second from a simulated \
                server",
        run: ui::run,
    },
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
    let order = match Order::read(&arguments) {
        Ok(order) => order,
        Err(message) => {
            eprintln!("{message}");
            return std::process::ExitCode::from(2);
        }
    };
    let conditions = machine::Conditions::look();
    print!("{conditions}");
    let mut table = Table::default();
    match &order.against {
        Some(old) => against::run(&mut table, old, order.rounds, &order.names),
        None => {
            for bench in BENCHES.iter().filter(|bench| order.names.iter().any(|name| name == bench.name)) {
                table.begin(bench.name, bench.about);
                (bench.run)(&mut table);
            }
        }
    }
    println!("{}", table.summary());
    if let Some(path) = order.markdown {
        std::fs::write(&path, report::markdown(&conditions, &table)).expect("the report can be written");
        progress(&format!("wrote {}", path.display()));
    }
    std::process::ExitCode::SUCCESS
}

/// The parsed command line.
struct Order {
    names: Vec<String>,
    /// Where the report goes.
    markdown: Option<PathBuf>,
    /// The bench program of an older revision.
    against: Option<PathBuf>,
    /// How many times both revisions run.
    rounds: usize,
}

impl Order {
    /// Reads `[NAME…] [--markdown FILE] [--against PROGRAM] [--rounds N]`. Without a name, all benches run.
    fn read(arguments: &[String]) -> Result<Self, String> {
        let mut order = Self { names: Vec::new(), markdown: None, against: None, rounds: 4 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} requires a value"));
            match argument.as_str() {
                "--markdown" => order.markdown = Some(value()?.into()),
                "--against" => order.against = Some(value()?.into()),
                "--rounds" => {
                    let text = value()?;
                    order.rounds =
                        text.parse().map_err(|_| format!("--rounds: expected a number, got `{text}`"))?;
                }
                name if BENCHES.iter().any(|bench| bench.name == name) => order.names.push(name.to_owned()),
                other => {
                    let names = BENCHES.map(|bench| bench.name).join(", ");
                    return Err(format!("unknown bench `{other}`; known: {names}"));
                }
            }
        }
        if order.names.is_empty() {
            // Revisions before this option have no bench `ui`.
            let wanted = BENCHES.iter().filter(|bench| order.against.is_none() || bench.name != "ui");
            order.names = wanted.map(|bench| bench.name.to_owned()).collect();
        }
        Ok(order)
    }
}
