//! The conditions of a run: the machine, the commit and the date.

use std::fmt;
use std::fs::read_to_string;
use std::path::Path;
use std::process::Command;

/// The conditions of a run, which have to be known to compare its figures with another run's.
#[derive(Debug)]
pub(crate) struct Conditions {
    processor: String,
    cores: usize,
    memory_bytes: u64,
    kernel: String,
    disk: String,
    /// The load average of the last minute when the run began.
    load: String,
    commit: String,
    date: String,
}

impl Conditions {
    /// Looks at this machine and this checkout. What cannot be determined is `unknown`.
    pub(crate) fn look() -> Self {
        let unknown = || "unknown".to_owned();
        let first_word = |path: &str| read_to_string(path).ok()?.split_whitespace().next().map(str::to_owned);
        let memory_kib = field("/proc/meminfo", "MemTotal").and_then(|text| {
            let kib: Option<u64> = text.trim_end_matches(" kB").parse().ok();
            kib
        });
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: memory_kib.unwrap_or(0) * 1_024,
            kernel: first_word("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            disk: disk(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap_or_else(unknown),
            load: first_word("/proc/loadavg").unwrap_or_else(unknown),
            commit: commit().unwrap_or_else(unknown),
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }

    /// Names and values, in the order in which they are printed.
    pub(crate) fn fields(&self) -> [(&'static str, String); 6] {
        let gib = self.memory_bytes.div_ceil(1 << 30);
        [
            ("machine", format!("{}, {} cores, {gib} GiB of memory", self.processor, self.cores)),
            ("kernel", self.kernel.clone()),
            ("disk", self.disk.clone()),
            ("commit", self.commit.clone()),
            ("date", self.date.clone()),
            ("load average at the start", self.load.clone()),
        ]
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.fields() {
            writeln!(f, "{name}: {value}")?;
        }
        Ok(())
    }
}

/// The value of the first line `NAME: value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

/// Device, model and file system of the disk that holds `folder`.
fn disk(folder: &Path) -> Option<String> {
    let mounts = read_to_string("/proc/self/mounts").ok()?;
    let (_, device, kind) = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.nth(1)?, line.split(' ').next()?, words.next()?))
        })
        .filter(|(point, _, _)| folder.starts_with(point))
        .max_by_key(|(point, _, _)| point.len())?;
    let name = device.rsplit('/').next()?;
    let model = read_to_string(format!("/sys/class/block/{name}/device/model")).unwrap_or_default();
    Some(format!("{device} {} ({kind})", model.trim()).replace("  ", " "))
}

/// The commit of this checkout, and whether tracked files differ from it. The report that a run writes does not count.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs/performance.md"])?;
    Some(if changed.is_empty() { hash } else { format!("{hash} with uncommitted changes") })
}
