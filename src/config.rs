//! The daemon's settings, and where each may come from.
//!
//! Flags override `KDAEMON_*` environment variables, which override the file, which overrides the defaults.
//! All settings are declared in one table (`settings!`): the struct, the file's keys, the variables, the
//! bounds and the test that compares `config/app.conf` are derived from it. A new setting is one entry there
//! and one line in `app.conf`.
//!
//! Reading is strict: an unknown key or variable, a key given twice or a value out of bounds stops the daemon
//! with one sentence that names the place and what is expected. A typing error never quietly means "the
//! default".

#![allow(
    clippy::doc_markdown,
    rustdoc::broken_intra_doc_links,
    reason = "comments here are also the texts of --help and of config/app.conf"
)]

use kdaemon_events::{Kind, Strategy};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

mod ini;
#[cfg(test)]
mod tests;
mod value;

pub use value::{ByteSize, Invalid, LONGEST, parse_duration};

use ini::IniLine;
use value::{SettingValue, hours, millis, minutes, parse_bind, quoted, seconds, within};

/// The flags of `kdaemon serve`; settings without a flag are taken from the environment, the file or the
/// defaults.
#[derive(Args, Debug, Default, Clone)]
pub struct ServeArgs {
    /// Configuration file; config/app.conf describes every setting [env: KDAEMON_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Address and port to listen on: 127.0.0.1:1337 or [::1]:1337; port 0 picks a free one [env: KDAEMON_BIND_IP,
    /// KDAEMON_API_PORT]
    #[arg(long, value_name = "IP:PORT", value_parser = parse_bind)]
    pub bind: Option<SocketAddr>,

    /// Folder of the event log and all other data [env: KDAEMON_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Store of the event log: in the data folder, or in RethinkDB [env: KDAEMON_STORE]
    #[arg(long, value_enum, value_name = "STORE")]
    pub store: Option<StoreKind>,

    /// Do not mount this machine's own Docker engine as a node [env: KDAEMON_LOCAL_NODE=false]
    #[arg(long)]
    pub no_local: bool,

    /// Format of log lines on stderr [env: KDAEMON_LOG_FORMAT]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// Where the event log is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// SQLite in the data folder; needs no other program.
    Embedded,
    /// RethinkDB, for several daemons.
    Rethinkdb,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Readable text.
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// One entry of the table of settings.
#[derive(Debug)]
pub struct Setting {
    /// The key in the file.
    pub name: &'static str,
    /// One line on what it does.
    pub help: &'static str,
    /// Shows the value in a configuration, as it would be written in the file.
    pub get: fn(&Config) -> String,
    /// Sets the value from the text in the file or the environment.
    pub set: fn(&mut Config, &str) -> Result<(), Invalid>,
}

impl Setting {
    /// The environment variable that sets it: `KDAEMON_` and the key in capitals.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_ascii_uppercase())
    }
}

/// The table of settings: `/// help`, then `name: type = default, check;`. The first line of the comment is
/// the help.
macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr $(, $check:expr)?; )+) => {
        /// Every setting of the daemon, checked. [`Config::load`] makes one; `Config::default()` has the defaults.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $(
                $(#[doc = $doc])+
                ///
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                pub $name: $kind,
            )+
        }

        /// All settings, in the order of `config/app.conf`.
        pub const SETTINGS: &[Setting] = &[
            $(
                Setting {
                    name: stringify!($name),
                    help: [$($doc),+][0].trim_ascii(),
                    get: |config| config.$name.show(),
                    set: |config, text| {
                        let value = <$kind as SettingValue>::parse(text)?;
                        $( let value = $check(value)?; )?
                        config.$name = value;
                        Ok(())
                    },
                },
            )+
        ];

        impl Config {
            /// The defaults that depend on nothing; [`ConfigDraft::finish`] fills in the ones that depend on the
            /// environment.
            fn built_in() -> Self {
                Self { $( $name: $default, )+ }
            }
        }
    };
}

settings! {
    /// Address that the API listens on; see allow_unauthenticated
    bind_ip: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    /// Port that the API listens on; 0 picks a free one
    api_port: u16 = 1337;
    /// First part of the API's paths, as in /0.0/nodes
    api_version: String = "0.0".to_owned(), value::path_segment;
    /// More host names that the API answers to: a, b, c
    server_names: Vec<String> = Vec::new(), value::host_names;
    /// Origins of web pages that may call the API: SCHEME://HOST:PORT, ...
    cors_origins: Vec<String> = Vec::new(), value::origins;
    /// true: listen on other addresses, without access control
    allow_unauthenticated: bool = false;
    /// Largest accepted request body, in bytes, KiB or MiB
    max_body_bytes: ByteSize = ByteSize::mib(1), within(ByteSize::kib(1)..=ByteSize::mib(64));
    /// Time until a request must be answered; not for streams
    request_timeout: Duration = seconds(30), within(millis(100)..=hours(1));
    /// Concurrent connections to the API; further ones wait
    max_connections: usize = 1024, within(1..=100_000);

    /// Empty: $XDG_STATE_HOME/kdaemon, ~/.local/state/kdaemon, /var/lib/kdaemon
    ///
    /// The first of these whose variable is set; the last is for a service without a `HOME`. Never empty in a
    /// loaded configuration.
    data_dir: PathBuf = PathBuf::new(), value::folder;
    /// embedded or rethinkdb; default: rethinkdb if rethinkdb_host is set
    store: StoreKind = StoreKind::Embedded;
    /// RethinkDB servers, any of which will do: HOST or HOST:PORT, ...
    rethinkdb_host: Vec<String> = vec!["127.0.0.1".to_owned()], value::servers;
    /// Client driver port of servers given without one
    rethinkdb_port: u16 = 28015, within(1..=u16::MAX);
    /// RethinkDB database; created when missing
    rethinkdb_dbname: String = "kdaemon".to_owned(), value::database_name;
    /// RethinkDB user
    rethinkdb_user: String = "admin".to_owned(), value::user_name;
    /// File with the user's password; empty: no password
    rethinkdb_password_file: PathBuf = PathBuf::new(), value::folder;
    /// Replication factor of new tables
    rethinkdb_replicas: u8 = 1, within(1..=32);

    /// Leader lease duration, when several daemons share a log
    leader_lease: Duration = millis(2500), within(millis(500)..=minutes(5));

    /// Age at which raw observations of nodes are pruned
    observation_retention: Duration = hours(7 * 24), within(seconds(1)..=LONGEST);

    /// Mount this machine's own Docker engine as a node
    local_node: bool = true;
    /// Address of that engine: unix://PATH or tcp://HOST:PORT
    local_endpoint: String = "unix:///var/run/docker.sock".to_owned(), value::endpoint;

    /// text for people, json for log collectors
    log_format: LogFormat = LogFormat::Text;
    /// off, error, warn, info, debug, trace; or by module: info,kdaemon=debug
    log_level: String = "info".to_owned(), value::log_filter;

    /// Pause between two probes of a healthy node
    health_interval: Duration = seconds(2), within(millis(10)..=hours(1));
    /// Timeout of a probe
    probe_timeout: Duration = millis(1500), within(millis(10)..=minutes(5));
    /// Pause before a failed probe is repeated
    probe_retry_interval: Duration = millis(250), within(millis(10)..=minutes(5));
    /// Consecutive failed probes that make a node unhealthy
    unhealthy_after: u32 = 3, within(1..=100);
    /// Consecutive successful probes that make it healthy again
    healthy_after: u32 = 2, within(1..=100);

    /// Attempts to launch a container before it is FAILED
    launch_attempts: u32 = 5, within(1..=100);
    /// Grace period before a stopped container is killed; 0s: none
    launch_timeout: Duration = seconds(60), within(millis(100)..=hours(24));
    /// Timeout of pulling an image
    pull_timeout: Duration = minutes(10), within(seconds(1)..=hours(24));
    /// Grace period before a stopped container is killed
    stop_timeout: Duration = seconds(10), within(Duration::ZERO..=hours(1));
    /// Longest pause between two restarts
    restart_pause_max: Duration = minutes(5), within(seconds(1)..=hours(24));

    /// How a node is chosen: spread, binpack or resources
    strategy: Strategy = Strategy::Spread;
    /// Concurrent moves for the sake of balance or of a drain
    max_migrations: usize = 8, within(1..=1000);
    /// Concurrent engine requests that change one node
    max_node_work: usize = 8, within(1..=1000);

    /// Where events are sent, http:// or https://; empty: nowhere
    webhook_url: String = String::new(), value::webhook_url;
    /// Kinds of event to send; empty: all but raw observations
    webhook_events: Vec<Kind> = Vec::new();
    /// File with the secret that signs bodies; empty: unsigned
    webhook_secret_file: PathBuf = PathBuf::new(), value::folder;
}

impl Default for Config {
    /// The configuration of a daemon without flags, file and environment.
    fn default() -> Self {
        Self { data_dir: default_data_dir(&ProcessEnvironment::default()), ..Self::built_in() }
    }
}

impl Config {
    /// Reads the settings from the flags, the environment (`std::env::vars_os()`), the file that either
    /// names, and the defaults, and checks them. Of variables without the prefix `KDAEMON_` only
    /// `XDG_STATE_HOME` and `HOME` are read. An empty variable counts as not set.
    ///
    /// # Errors
    /// The first problem found, with its place and what is expected there.
    pub fn load<K, V>(
        args: &ServeArgs,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let environment: ProcessEnvironment = environment
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let mut draft = ConfigDraft { config: Self::built_in(), set_by: BTreeMap::new() };
        if let Some(path) = args.config.as_deref().or_else(|| environment.path("KDAEMON_CONFIG")) {
            draft.read_file(path)?;
        }
        draft.read_variables(&environment)?;
        draft.read_flags(args)?;
        draft.finish(&environment)
    }

    /// The address and port to listen on.
    #[must_use]
    pub const fn bind_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind_ip, self.api_port)
    }

    /// The servers of `rethinkdb_host`, each with its port.
    #[must_use]
    pub fn rethinkdb_servers(&self) -> Vec<(String, u16)> {
        let server = |text: &String| value::server_and_port(text, self.rethinkdb_port).ok();
        self.rethinkdb_host.iter().filter_map(server).collect() // checked when it was read
    }
}

/// Why a configuration was rejected. Each message is one line with the place and what is expected there.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that a flag or `KDAEMON_CONFIG` names cannot be read.
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's message. (Not called `source`: it is part of this error's message and must not be
        /// printed twice.)
        reason: io::Error,
    },
    /// A line of the file is neither a comment nor a section nor `key = value`.
    #[error("{origin}: {problem}")]
    Malformed {
        /// The file and line.
        origin: Origin,
        /// The defect of the line.
        problem: &'static str,
    },
    /// A section other than `[default]`.
    #[error("{origin}: unknown section {}: the only section is [default]", quoted(name))]
    UnknownSection {
        /// The file and line.
        origin: Origin,
        /// The section's name.
        name: String,
    },
    /// An unknown key in the file.
    #[error("{origin}: unknown setting {}: the nearest known one is {nearest}", quoted(name))]
    UnknownKey {
        /// The file and line.
        origin: Origin,
        /// The key as written.
        name: String,
        /// The most similar known key.
        nearest: &'static str,
    },
    /// An unknown `KDAEMON_*` variable.
    #[error("unknown environment variable {}: the nearest known one is {nearest}", quoted(name))]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The most similar known variable.
        nearest: String,
    },
    /// A key that is in the file twice.
    #[error("{origin}: {name} is set a second time; it is already set at {first}: remove one of them")]
    Repeated {
        /// The file and line of the second.
        origin: Origin,
        /// The key.
        name: &'static str,
        /// The file and line of the first.
        first: Origin,
    },
    /// A value that is malformed or out of bounds.
    #[error("{}: {problem}", origin.with_key(name))]
    Value {
        /// Where the value was given.
        origin: Origin,
        /// The setting.
        name: &'static str,
        /// The defect, and what is expected.
        problem: Invalid,
    },
    /// `bind_ip` is not loopback and `allow_unauthenticated` is false.
    #[error(
        "{origin}: the API has no access control, and other machines can reach {ip}: they could control every \
         container. Listen on this machine only (bind_ip = 127.0.0.1), or, if everyone who can reach {ip} is trusted, \
         set allow_unauthenticated = true in the configuration file or KDAEMON_ALLOW_UNAUTHENTICATED=true in the \
         environment"
    )]
    Exposed {
        /// Where the address was given.
        origin: Origin,
        /// The address.
        ip: IpAddr,
    },
}

/// Where a setting was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default.
    Default,
    /// In the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// This environment variable.
    Variable(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl Origin {
    /// The origin together with the key, unless the origin already names the setting.
    fn with_key(&self, key: &str) -> String {
        match self {
            Self::File { .. } | Self::Default => format!("{self}: {key}"),
            Self::Variable(_) | Self::Flag(_) => self.to_string(),
        }
    }
}

/// The prefix of variables meant for kDaemon.
const PREFIX: &str = "KDAEMON_";
/// Variables with the prefix that are not settings of the daemon, but of the command line and of the tests.
const NO_SETTINGS: [&str; 3] = ["KDAEMON_SERVER", "KDAEMON_CONFIG", "KDAEMON_LOG"];
const NO_SETTINGS_PREFIXES: [&str; 2] = ["KDAEMON_TEST_", "KDAEMON_ENGINES"];

/// The non-empty environment variables, ordered by name so that the first error is always the same one.
#[derive(Default)]
struct ProcessEnvironment(BTreeMap<OsString, OsString>);

impl ProcessEnvironment {
    fn path(&self, name: &str) -> Option<&Path> {
        self.0.get(OsStr::new(name)).map(Path::new)
    }
}

impl FromIterator<(OsString, OsString)> for ProcessEnvironment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// A configuration being assembled, with the origin of each setting.
struct ConfigDraft {
    config: Config,
    set_by: BTreeMap<&'static str, Origin>,
}

impl ConfigDraft {
    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text =
            ini::read(path).map_err(|reason| ConfigError::Unreadable { path: path.to_owned(), reason })?;
        for (index, line) in text.lines().enumerate() {
            let origin = Origin::File { path: path.to_owned(), line: index + 1 };
            match ini::parse_line(line) {
                Ok(IniLine::Blank) => {}
                Ok(IniLine::Section(name)) if name.eq_ignore_ascii_case("default") => {}
                Ok(IniLine::Section(name)) => {
                    return Err(ConfigError::UnknownSection { origin, name: name.to_owned() });
                }
                Ok(IniLine::Entry(key, value)) => {
                    let Some(setting) = find(key) else {
                        let nearest = nearest(key).name;
                        return Err(ConfigError::UnknownKey { origin, name: key.to_owned(), nearest });
                    };
                    if let Some(first) = self.set_by.get(setting.name).cloned() {
                        return Err(ConfigError::Repeated { origin, name: setting.name, first });
                    }
                    self.set(setting, value, origin)?;
                }
                Err(problem) => return Err(ConfigError::Malformed { origin, problem }),
            }
        }
        Ok(())
    }

    fn read_variables(&mut self, environment: &ProcessEnvironment) -> Result<(), ConfigError> {
        for (name, value) in &environment.0 {
            let name = name.to_string_lossy();
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            if NO_SETTINGS.contains(&&*name) || NO_SETTINGS_PREFIXES.iter().any(|no| name.starts_with(no)) {
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
                let nearest = nearest(key).variable();
                return Err(ConfigError::UnknownVariable { name: name.into_owned(), nearest });
            };
            let origin = Origin::Variable(name.into_owned());
            let Some(value) = value.to_str() else {
                let problem = Invalid::new(&value.to_string_lossy(), "is not UTF-8");
                return Err(ConfigError::Value { origin, name: setting.name, problem });
            };
            self.set(setting, value.trim(), origin)?;
        }
        Ok(())
    }

    fn read_flags(&mut self, args: &ServeArgs) -> Result<(), ConfigError> {
        if let Some(address) = args.bind {
            self.config.bind_ip = address.ip();
            self.config.api_port = address.port();
            self.set_by.insert("bind_ip", Origin::Flag("--bind"));
        }
        if let Some(data_dir) = &args.data_dir {
            self.config.data_dir = value::folder(data_dir.clone()).map_err(|problem| ConfigError::Value {
                origin: Origin::Flag("--data-dir"),
                name: "data_dir",
                problem,
            })?;
        }
        if let Some(store) = args.store {
            self.config.store = store;
            self.set_by.insert("store", Origin::Flag("--store"));
        }
        if args.no_local {
            self.config.local_node = false;
        }
        if let Some(log_format) = args.log_format {
            self.config.log_format = log_format;
        }
        Ok(())
    }

    /// Settles what depends on other settings and on the environment, and checks conditions across settings.
    fn finish(mut self, environment: &ProcessEnvironment) -> Result<Config, ConfigError> {
        if self.config.data_dir.as_os_str().is_empty() {
            self.config.data_dir = default_data_dir(environment);
        }
        if self.set_by.contains_key("rethinkdb_host") && !self.set_by.contains_key("store") {
            self.config.store = StoreKind::Rethinkdb;
        }
        let ip = self.config.bind_ip;
        if !ip.to_canonical().is_loopback() && !self.config.allow_unauthenticated {
            let origin = self.set_by.remove("bind_ip").unwrap_or(Origin::Default);
            return Err(ConfigError::Exposed { origin, ip });
        }
        Ok(self.config)
    }

    fn set(&mut self, setting: &Setting, value: &str, origin: Origin) -> Result<(), ConfigError> {
        match (setting.set)(&mut self.config, value) {
            Ok(()) => {
                self.set_by.insert(setting.name, origin);
                Ok(())
            }
            Err(problem) => Err(ConfigError::Value { origin, name: setting.name, problem }),
        }
    }
}

fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

/// The known setting most similar to this name.
fn nearest(name: &str) -> &'static Setting {
    let name = name.to_ascii_lowercase();
    let alike = |setting: &Setting| strsim::normalized_damerau_levenshtein(&name, setting.name);
    SETTINGS
        .iter()
        .fold(&SETTINGS[0], |best, setting| if alike(setting) > alike(best) { setting } else { best })
}

/// The state folder of the XDG base directory specification (which says to ignore relative paths), or the
/// system's.
fn default_data_dir(environment: &ProcessEnvironment) -> PathBuf {
    let absolute = |name| environment.path(name).filter(|path| path.is_absolute());
    match (absolute("XDG_STATE_HOME"), absolute("HOME")) {
        (Some(state), _) => state.join("kdaemon"),
        (None, Some(home)) => home.join(".local/state/kdaemon"),
        (None, None) => PathBuf::from("/var/lib/kdaemon"),
    }
}
