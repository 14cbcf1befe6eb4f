//! Properties of the configuration, and of the shipped config/app.conf.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use super::*;

/// The shipped file.
const APP_CONF: &str = include_str!("../../config/app.conf");

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    serve: ServeArgs,
}

/// The inputs of a configuration: a file, variables and flags.
#[derive(Default)]
struct Given {
    file: Option<String>,
    variables: Vec<(OsString, OsString)>,
    flags: Vec<&'static str>,
}

impl Given {
    fn nothing() -> Self {
        Self::default()
    }

    fn by_file(text: impl Into<String>) -> Self {
        Self { file: Some(text.into()), ..Self::default() }
    }

    fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn flags(mut self, flags: &[&'static str]) -> Self {
        self.flags.extend(flags);
        self
    }

    fn config(self) -> Config {
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// The message, without the temporary folder's path.
    fn error(self) -> String {
        self.load().unwrap_err()
    }

    fn load(self) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut line = CommandLine::parse_from([&["kdaemon"], &self.flags[..]].concat());
        if let Some(text) = self.file {
            let path = folder.path().join("app.conf");
            fs::write(&path, text).unwrap();
            line.serve.config = Some(path);
        }
        Config::load(&line.serve, self.variables)
            .map_err(|error| error.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not contain {part:?}");
    }
    assert!(!message.contains('\n'), "more than one line: {message:?}");
}

#[test]
fn no_settings_means_the_defaults() {
    let config = Given::nothing().config();
    assert_eq!(config, Config::default());
    assert_eq!(config.bind_address(), "127.0.0.1:1337".parse().unwrap());
    assert_eq!((config.store, config.local_node), (StoreKind::Embedded, true));
    assert_eq!(config.max_body_bytes.bytes(), 1_048_576);
}

#[test]
fn flags_override_variables_override_the_file_overrides_the_defaults() {
    let file = "api_port = 1\nlog_format = json\nmax_migrations = 3";
    let given =
        || Given::by_file(file).variable("KDAEMON_API_PORT", "2").variable("KDAEMON_LOG_FORMAT", "json");
    let config = given().flags(&["--bind", "127.0.0.2:3", "--log-format", "text"]).config();
    assert_eq!((config.api_port, config.log_format, config.max_migrations), (3, LogFormat::Text, 3));
    assert_eq!(config.healthy_after, 2);
    assert_eq!(given().config().api_port, 2);
    assert_eq!(Given::by_file(file).config().api_port, 1);
}

#[test]
fn every_flag_of_serve_sets_its_setting() {
    let flags = [
        "--bind",
        "[::1]:0",
        "--data-dir",
        "d",
        "--store",
        "rethinkdb",
        "--no-local",
        "--log-format",
        "json",
    ];
    let config = Given::nothing().flags(&flags).config();
    assert_eq!(config.bind_address(), "[::1]:0".parse().unwrap());
    assert_eq!(config.data_dir, PathBuf::from("d"));
    assert_eq!((config.store, config.log_format), (StoreKind::Rethinkdb, LogFormat::Json));
    assert!(!config.local_node);
}

#[test]
fn malformed_bind_flag_names_the_expected_form() {
    for wrong in ["localhost:1337", "127.0.0.1", ":1337", "::1:99999", "[::1]", "127.0.0.1:65536", ""] {
        let error = CommandLine::try_parse_from(["kdaemon", "--bind", wrong]).map(|_| wrong).unwrap_err();
        assert_says(error.to_string().lines().next().unwrap(), &["--bind", "127.0.0.1:1337 or [::1]:1337"]);
    }
}

#[test]
fn file_of_kdaemon_0_0_is_accepted() {
    let config = Given::by_file(
        "\u{feff}    [default]\r\n    bind_ip = 127.0.0.1     # where to listen\r\n\tapi_port=4000\r\n\r\n\
         rethinkdb_host : db.internal\t; the server\r\n    rethinkdb_port = 28016\r\n; rethinkdb_port = 1\r\n\
         rethinkdb_dbname = \"klouds\" # its name\r\napi_version = 0.0",
    )
    .config();
    assert_eq!(config.bind_address(), "127.0.0.1:4000".parse().unwrap());
    assert_eq!(config.rethinkdb_servers(), [("db.internal".to_owned(), 28016)]);
    assert_eq!((config.rethinkdb_dbname.as_str(), config.store), ("klouds", StoreKind::Rethinkdb));
}

#[test]
fn default_is_the_only_section_and_optional() {
    assert_eq!(Given::by_file("api_port = 1").config().api_port, 1);
    assert_eq!(Given::by_file("[DEFAULT] # here\napi_port = 1").config().api_port, 1);
    assert_says(&Given::by_file("\n[server]\n").error(), &["app.conf:2:", "\"server\"", "[default]"]);
}

#[test]
fn comment_ends_a_value() {
    let data_dir = |line: &str| Given::by_file(line).variable("HOME", "/h").config().data_dir;
    assert_eq!(data_dir("data_dir = /a#b # a comment"), PathBuf::from("/a#b"));
    assert_eq!(data_dir("data_dir = \"/a #b\" # a comment"), PathBuf::from("/a #b"));
    assert_eq!(data_dir("data_dir = /ä;b\\n ;a comment"), PathBuf::from("/ä;b\\n"));
    assert_eq!(data_dir("data_dir = # a comment"), PathBuf::from("/h/.local/state/kdaemon"));
    assert_eq!(data_dir("data_dir =#a comment"), PathBuf::from("/h/.local/state/kdaemon"));
    assert_eq!(data_dir("data_dir = /a: b=c # #"), PathBuf::from("/a: b=c"));
    assert_eq!(data_dir("data_dir = /a=b"), PathBuf::from("/a=b"));
}

#[test]
fn malformed_line_is_an_error_with_its_number() {
    for (line, problem) in [
        ("api_port", "expected key = value"),
        ("= 3", "expected a key"),
        ("[default", "] is missing"),
        ("[default] api_port = 1", "only a comment may follow"),
        ("data_dir = \"/a", "closing \" is missing"),
        ("data_dir = \"/a\"b", "only a comment may follow"),
    ] {
        assert_says(
            &Given::by_file(format!("# one\n\n{line}\napi_port = 1\n")).error(),
            &["app.conf:3:", problem],
        );
    }
}

#[test]
fn unknown_key_names_its_line_and_the_nearest_known_one() {
    for (wrong, nearest) in
        [("api_prot", "api_port"), ("bind-ip", "bind_ip"), ("RETHINKDB_DB", "rethinkdb_dbname")]
    {
        let error = Given::by_file(format!("[default]\n{wrong} = 1")).error();
        assert_says(&error, &["app.conf:2:", wrong, &format!("the nearest known one is {nearest}")]);
    }
}

#[test]
fn unknown_variable_names_the_nearest_known_one() {
    let error = Given::nothing().variable("KDAEMON_PORT", "1").error();
    assert_says(&error, &["\"KDAEMON_PORT\"", "the nearest known one is KDAEMON_API_PORT"]);
    assert_says(&Given::nothing().variable("KDAEMON_api_port", "1").error(), &["KDAEMON_API_PORT"]);
}

#[test]
fn variables_of_other_programs_are_ignored() {
    let given = [
        "KDAEMON_SERVER",
        "KDAEMON_LOG",
        "KDAEMON_TEST_X",
        "KDAEMON_ENGINES",
        "KDAEMON_ENGINES_2",
        "PATH",
        "kdaemon_x",
    ]
    .into_iter()
    .fold(Given::nothing(), |given, name| given.variable(name, "anything"));
    assert_eq!(given.config(), Config::default());
}

#[test]
fn empty_variable_counts_as_not_set() {
    let given =
        Given::by_file("api_port = 5").variable("KDAEMON_API_PORT", "").variable("KDAEMON_CONFIG", "");
    assert_eq!(given.config().api_port, 5);
}

#[test]
fn kdaemon_config_names_the_file_unless_a_flag_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.conf");
    fs::write(&path, "api_port = 6").unwrap();
    assert_eq!(Given::nothing().variable("KDAEMON_CONFIG", path.clone()).config().api_port, 6);
    assert_eq!(Given::by_file("api_port = 7").variable("KDAEMON_CONFIG", path).config().api_port, 7);
}

#[test]
fn unreadable_file_is_an_error_with_its_path() {
    let unreadable = |path: &str| Given::nothing().variable("KDAEMON_CONFIG", path).error();
    assert_says(&unreadable("/no/such.conf"), &["/no/such.conf", "No such file"]);
    assert_says(&unreadable("/dev/zero"), &["/dev/zero", "larger than 1 MiB"]);
    assert_says(&unreadable("/"), &["directory"]);
}

#[test]
fn duplicate_key_names_both_lines() {
    let error = Given::by_file("api_port = 1\n\n[default]\napi_port = 1").error();
    assert_says(&error, &["app.conf:4:", "api_port", "app.conf:1"]);
}

#[test]
fn invalid_value_names_its_place_and_the_expected_form() {
    for (key, wrong, expected) in [
        ("bind_ip", "localhost", "127.0.0.1"),
        ("bind_ip", "127.0.0.1:2375", "api_port"),
        ("api_port", "65536", "from 0 to 65535"),
        ("api_port", "-1", "from 0 to 65535"),
        ("api_port", "", "from 0 to 65535"),
        ("api_version", "../ws", "0.0 or v1"),
        ("api_version", "metrics", "0.0 or v1"),
        ("server_names", "a.example.org, http://b", "without a port"),
        ("server_names", "a.example.org:80", "without a port"),
        ("cors_origins", "*", "name the origins"),
        ("cors_origins", "ui.example.org", "https://ui.example.org:8443"),
        ("cors_origins", "https://ui.example.org/", "without a path"),
        ("allow_unauthenticated", "maybe", "true nor false"),
        ("max_body_bytes", "1MB", "64KiB, 1MiB or 65536"),
        ("max_body_bytes", "0", "1KiB to 64MiB"),
        ("request_timeout", "0s", "100ms to 1h"),
        ("max_connections", "0", "1 to 100000"),
        ("data_dir", "~/kdaemon", "whole path"),
        ("store", "sqlite", "embedded or rethinkdb"),
        ("rethinkdb_host", "db:0", "10.0.0.7:28015"),
        ("rethinkdb_host", "db-1, ::1:x", "[::1]:28015"),
        ("rethinkdb_host", "http://db", "10.0.0.7:28015"),
        ("rethinkdb_host", "", "names no server"),
        ("rethinkdb_port", "0", "1 to 65535"),
        ("rethinkdb_dbname", "a b", "letters, digits"),
        ("rethinkdb_user", "", "up to 128 characters"),
        ("rethinkdb_password_file", "~/password", "whole path"),
        ("rethinkdb_replicas", "0", "1 to 32"),
        ("local_node", "2", "true nor false"),
        ("local_endpoint", "/var/run/docker.sock", "unix:///PATH"),
        ("local_endpoint", "tcp://", "tcp://HOST:PORT"),
        ("log_format", "xml", "text or json"),
        ("log_level", "inof", "trace"),
        ("log_level", "info,kdaemon=debgu", "trace"),
        ("log_level", "", "trace"),
        ("health_interval", "2", "2s for seconds"),
        ("health_interval", "0s", "10ms to 1h"),
        ("probe_timeout", "10m", "10ms to 5m"),
        ("probe_retry_interval", "0ms", "10ms to 5m"),
        ("unhealthy_after", "0", "1 to 100"),
        ("healthy_after", "0", "1 to 100"),
        ("launch_attempts", "0", "1 to 100"),
        ("launch_timeout", "0s", "100ms to 1d"),
        ("pull_timeout", "0s", "1s to 1d"),
        ("stop_timeout", "2h", "0s to 1h"),
        ("restart_pause_max", "0s", "1s to 1d"),
        ("strategy", "Binpack", "spread, binpack or resources"),
        ("strategy", "random", "spread"),
        ("max_migrations", "0", "1 to 1000"),
        ("max_migrations", "-1", "whole number"),
        ("healthy_after", "two", "whole number"),
        ("max_node_work", "0", "1 to 1000"),
    ] {
        let error = Given::by_file(format!("\n{key} = {wrong}\n")).error();
        assert_says(&error, &[&format!("app.conf:2: {key}: "), expected]);
        if !wrong.is_empty() {
            let variable = find(key).unwrap().variable();
            assert_says(
                &Given::nothing().variable(&variable, wrong).error(),
                &[&format!("{variable}: "), expected],
            );
        }
    }
    let error = Given::nothing().flags(&["--data-dir=~/kdaemon"]).error();
    assert_says(&error, &["--data-dir: \"~/kdaemon\"", "whole path"]);
}

#[test]
fn long_or_garbled_value_is_quoted_in_one_short_line() {
    let error =
        Given::nothing().variable("KDAEMON_API_PORT", format!("\u{1b}[2J\n{}", "x".repeat(5000))).error();
    assert_says(&error, &["\\u{1b}", "\\n", "…"]);
    assert!(error.len() < 250, "{error}");
    let error = Given::by_file(format!("\u{1b}[2J{} = 1", "x".repeat(5000))).error();
    assert_says(&error, &["\\u{1b}", "…"]);
    assert!(error.len() < 250, "{error}");
}

#[cfg(unix)]
#[test]
fn variable_of_a_setting_must_be_utf8() {
    use std::os::unix::ffi::OsStringExt;
    let garbled = || OsString::from_vec(vec![b'a', 0xff]);
    assert_says(
        &Given::nothing().variable("KDAEMON_STORE", garbled()).error(),
        &["KDAEMON_STORE", "not UTF-8"],
    );
    assert_eq!(
        Given::nothing().variable("TERM", garbled()).variable(garbled(), "x").config(),
        Config::default()
    );
}

#[test]
fn lists_are_comma_separated() {
    let config = Given::by_file(
        "server_names = A.example.org, b ,, 10.0.0.1\ncors_origins = https://UI.example.org:8443",
    )
    .config();
    assert_eq!(config.server_names, ["a.example.org", "b", "10.0.0.1"]);
    assert_eq!(config.cors_origins, ["https://ui.example.org:8443"]);
}

#[test]
fn each_rethinkdb_server_may_have_its_own_port() {
    let config =
        Given::by_file("rethinkdb_host = db-1, 10.0.0.7:28016, ::1, [::1]:28017\nrethinkdb_port = 1")
            .config();
    let server = |host: &str, port| (host.to_owned(), port);
    let expected = [server("db-1", 1), server("10.0.0.7", 28016), server("::1", 1), server("::1", 28017)];
    assert_eq!(config.rethinkdb_servers(), expected);
}

#[test]
fn rethinkdb_host_selects_rethinkdb_unless_a_store_is_set() {
    let store = |given: Given| given.config().store;
    assert_eq!(store(Given::by_file("rethinkdb_host = db")), StoreKind::Rethinkdb);
    assert_eq!(store(Given::nothing().variable("KDAEMON_RETHINKDB_HOST", "db")), StoreKind::Rethinkdb);
    assert_eq!(store(Given::by_file("rethinkdb_host = db\nstore = embedded")), StoreKind::Embedded);
    assert_eq!(
        store(Given::by_file("rethinkdb_host = db").flags(&["--store", "embedded"])),
        StoreKind::Embedded
    );
    assert_eq!(store(Given::by_file("rethinkdb_port = 1\nrethinkdb_dbname = x")), StoreKind::Embedded);
}

#[test]
fn listening_beyond_loopback_needs_allow_unauthenticated() {
    for ip in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"] {
        let error = Given::by_file(format!("bind_ip = {ip}")).error();
        assert_says(&error, &["app.conf:1: ", ip, "bind_ip = 127.0.0.1", "allow_unauthenticated = true"]);
        assert_says(&error, &["KDAEMON_ALLOW_UNAUTHENTICATED=true"]);
        let config = Given::by_file(format!("bind_ip = {ip}\nallow_unauthenticated = yes")).config();
        assert_eq!(config.bind_ip.to_string(), ip);
    }
    assert_says(&Given::nothing().flags(&["--bind", "0.0.0.0:1"]).error(), &["--bind: the API"]);
    assert_says(&Given::nothing().variable("KDAEMON_BIND_IP", "::").error(), &["KDAEMON_BIND_IP: the API"]);
    for ip in ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(Given::by_file(format!("bind_ip = {ip}")).config().bind_ip.to_string(), ip);
    }
}

#[test]
fn data_folder_follows_the_xdg_specification() {
    let data_dir = |variables: &[(&str, &str)]| {
        variables
            .iter()
            .fold(Given::nothing(), |given, (name, value)| given.variable(name, value))
            .config()
            .data_dir
    };
    assert_eq!(data_dir(&[("XDG_STATE_HOME", "/x"), ("HOME", "/h")]), PathBuf::from("/x/kdaemon"));
    assert_eq!(data_dir(&[("HOME", "/h")]), PathBuf::from("/h/.local/state/kdaemon"));
    assert_eq!(
        data_dir(&[("XDG_STATE_HOME", "x"), ("HOME", "/h")]),
        PathBuf::from("/h/.local/state/kdaemon")
    );
    assert_eq!(data_dir(&[("HOME", "")]), PathBuf::from("/var/lib/kdaemon"));
    assert_eq!(data_dir(&[("HOME", "/h"), ("KDAEMON_DATA_DIR", "/d")]), PathBuf::from("/d"));
}

#[test]
fn durations_are_a_whole_number_and_a_unit() {
    for (text, ms) in
        [("500ms", 500), ("2s", 2_000), ("10m", 600_000), ("6h", 21_600_000), ("7d", 604_800_000), ("0", 0)]
    {
        assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
    }
    for wrong in ["", "s", "-1s", "1.5s", "1 s", " 1s", "1S", "1w", "1h30m", "٣s", "+1s", "00"] {
        assert_says(&parse_duration(wrong).unwrap_err().to_string(), &["expected"]);
    }
    assert_eq!(parse_duration("36500d").unwrap(), LONGEST);
    for too_long in ["36501d", "99999999999999999999s", "18446744073709551615d"] {
        assert_says(&parse_duration(too_long).unwrap_err().to_string(), &["at most 36500d"]);
    }
}

#[test]
fn sizes_are_bytes_or_have_a_binary_unit() {
    let bytes =
        |text: &str| Given::by_file(format!("max_body_bytes = {text}")).config().max_body_bytes.bytes();
    assert_eq!((bytes("64KiB"), bytes("2 MiB"), bytes("1025")), (65_536, 2_097_152, 1025));
    for wrong in ["KiB", "1.5MiB", "-1", "99999999999999999999", "18446744073709551615MiB"] {
        assert_says(&Given::by_file(format!("max_body_bytes = {wrong}")).error(), &["max_body_bytes", wrong]);
    }
}

#[test]
fn shown_value_sets_the_same_value() {
    let file = "api_port = 0\nstop_timeout = 0s\nprobe_timeout = 1500ms\nlog_format = json\nstrategy = spread\n\
                max_body_bytes = 1025\nserver_names = a, b\nbind_ip = ::1\nstore = rethinkdb\nlocal_node = off";
    for config in [Config::default(), Given::by_file(file).config()] {
        let mut copy = Config::default();
        for setting in SETTINGS {
            (setting.set)(&mut copy, &(setting.get)(&config))
                .unwrap_or_else(|error| panic!("{}: {error}", setting.name));
        }
        assert_eq!(copy, config);
    }
}

#[test]
fn settings_have_unique_names_and_a_line_of_help() {
    let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(names.len(), SETTINGS.len());
    for setting in SETTINGS {
        assert!((10..=75).contains(&setting.help.len()), "{}: {}", setting.name, setting.help);
        assert!(!NO_SETTINGS.contains(&setting.variable().as_str()), "{}", setting.name);
        assert_eq!(find(setting.name).map(Setting::variable), Some(setting.variable()));
    }
}

#[test]
fn shipped_file_documents_every_setting_with_its_default() {
    let documented: Vec<_> = APP_CONF
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.contains(" = ") && !line.starts_with(' '))
        .collect();
    let default = Config::built_in();
    let expected: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            format!("{:<45}# {}", format!("{} = {}", setting.name, (setting.get)(&default)), setting.help)
        })
        .collect();
    assert_eq!(documented, expected, "config/app.conf should have these lines:\n#{}\n", expected.join("\n#"));
}

#[test]
fn shipped_file_changes_nothing_even_uncommented() {
    assert_eq!(Given::by_file(APP_CONF).config(), Config::default());
    let uncommented: Vec<_> = APP_CONF
        .lines()
        .map(|line| line.strip_prefix('#').filter(|setting| !setting.starts_with(' ')).unwrap_or(line))
        .collect();
    assert!(uncommented.iter().filter(|line| line.contains(" = ")).count() >= SETTINGS.len());
    assert_eq!(Given::by_file(uncommented.join("\n")).config(), Config::default());
}

#[test]
fn flags_are_well_formed() {
    CommandLine::command().debug_assert();
    let help = CommandLine::command().render_long_help().to_string();
    assert_says(
        &help.replace('\n', " "),
        &["--config <FILE>", "--bind <IP:PORT>", "--data-dir <DIR>", "--no-local"],
    );
}
