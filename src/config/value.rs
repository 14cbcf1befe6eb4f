//! Values of settings: how each type is read and written, and the checks of single settings.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::{LogFormat, StoreKind};
use kdaemon_events::{Kind, Strategy};

/// Why a value is refused: one sentence that quotes it and says what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    /// The sentence: the text in quotes, then what is wrong with it.
    pub(super) fn new(text: &str, problem: &str) -> Self {
        Self(format!("{} {problem}", quoted(text)))
    }
}

/// At most 80 characters of untrusted text, in quotes and with control characters escaped: fit for one line
/// of a terminal.
pub(super) fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{shown:?}{cut}")
}

/// Parses a duration of the settings or the API: a whole number and `ms`, `s`, `m`, `h` or `d`; or a plain
/// `0`.
///
/// # Errors
/// When the text is malformed, or the duration exceeds [`LONGEST`], so that no sum with a clock's time can
/// overflow.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    const EXPECTED: &str =
        "is not a duration: expected a whole number and a unit, such as 500ms, 2s, 10m, 6h or 7d";
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "" if number == "0" => 1,
        "" if !number.is_empty() => {
            return Err(Invalid::new(text, &format!("has no unit: expected {number}s for seconds")));
        }
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(Invalid::new(text, EXPECTED)),
    };
    if number.is_empty() {
        return Err(Invalid::new(text, EXPECTED));
    }
    let duration = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)).map(Duration::from_millis);
    duration
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| Invalid::new(text, &format!("is too long: at most {}", LONGEST.show())))
}

/// The longest duration that can be written: 36,500 days.
pub const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// A number of bytes, written as `64KiB`, `1MiB` or plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

impl ByteSize {
    pub(super) const fn kib(n: usize) -> Self {
        Self(n << 10)
    }

    pub(super) const fn mib(n: usize) -> Self {
        Self(n << 20)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0
    }
}

/// Parses the value of `--bind`.
pub(super) fn parse_bind(text: &str) -> Result<SocketAddr, Invalid> {
    text.parse().map_err(|_| {
        Invalid::new(
            text,
            "is not an IP address with a port: expected one such as 127.0.0.1:1337 or [::1]:1337",
        )
    })
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn minutes(n: u64) -> Duration {
    seconds(n * 60)
}

pub(super) const fn hours(n: u64) -> Duration {
    minutes(n * 60)
}

/// A type of setting: how its values are read and written.
pub(super) trait SettingValue: Sized {
    fn parse(text: &str) -> Result<Self, Invalid>;
    /// The text that `parse` turns back into this value.
    fn show(&self) -> String;
}

macro_rules! whole_numbers {
    ($($kind:ty: $problem:literal),+) => {$(
        impl SettingValue for $kind {
            fn parse(text: &str) -> Result<Self, Invalid> {
                text.parse().map_err(|_| Invalid::new(text, $problem))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

whole_numbers!(
    u8: "is not a whole number: expected one such as 3",
    u16: "is not a port: expected a whole number from 0 to 65535",
    u32: "is not a whole number: expected one such as 3",
    usize: "is not a whole number: expected one such as 8"
);

impl SettingValue for bool {
    fn parse(text: &str) -> Result<Self, Invalid> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(Invalid::new(text, "is neither true nor false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for String {
    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl SettingValue for Vec<String> {
    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        self.join(", ")
    }
}

impl SettingValue for PathBuf {
    fn parse(text: &str) -> Result<Self, Invalid> {
        Ok(Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl SettingValue for IpAddr {
    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().map_err(|_| {
            Invalid::new(
                text,
                "is not an IP address: expected one such as 127.0.0.1, 0.0.0.0 or ::1; the port is api_port's",
            )
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for Duration {
    fn parse(text: &str) -> Result<Self, Invalid> {
        parse_duration(text)
    }

    /// In the largest unit that leaves no remainder.
    fn show(&self) -> String {
        let ms = self.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        match units.iter().find(|(_, unit_ms)| ms > 0 && ms.is_multiple_of(*unit_ms)) {
            Some((unit, unit_ms)) => format!("{}{unit}", ms / unit_ms),
            None if ms == 0 => "0s".to_owned(),
            None => format!("{ms}ms"),
        }
    }
}

impl SettingValue for ByteSize {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let (number, unit) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
            (Some(number), _) => (number, 1 << 10),
            (_, Some(number)) => (number, 1 << 20),
            (None, None) => (text, 1),
        };
        let bytes = number.trim_end().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
        bytes.map(Self).ok_or_else(|| {
            Invalid::new(text, "is not a size: expected one such as 64KiB, 1MiB or 65536 (bytes)")
        })
    }

    fn show(&self) -> String {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
            bytes => bytes.to_string(),
        }
    }
}

macro_rules! choices {
    ($($kind:ty),+) => {$(
        impl SettingValue for $kind {
            fn parse(text: &str) -> Result<Self, Invalid> {
                let choices = || Self::value_variants().iter().map(Self::show).collect::<Vec<_>>().join(" or ");
                Self::from_str(text, false)
                    .map_err(|_| Invalid::new(text, &format!("is not one of the choices: expected {}", choices())))
            }

            fn show(&self) -> String {
                self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
            }
        }
    )+};
}

choices!(StoreKind, LogFormat);

impl SettingValue for Strategy {
    fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse()
            .map_err(|_| Invalid::new(text, "is not a strategy: expected spread, binpack or resources"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl SettingValue for Vec<Kind> {
    fn parse(text: &str) -> Result<Self, Invalid> {
        let names = Vec::<String>::parse(text)?;
        let kind = |name: String| {
            let likeness = |kind: &Kind| strsim::normalized_damerau_levenshtein(&name, kind.as_str());
            let nearest = Kind::ALL.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let hint = nearest.map(|kind| format!(": the nearest one is {kind}")).unwrap_or_default();
            name.parse().map_err(|_| Invalid::new(&name, &format!("is not a kind of event{hint}")))
        };
        names.into_iter().map(kind).collect()
    }

    fn show(&self) -> String {
        self.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// Checks that a value is within bounds, both included.
pub(super) fn within<T: SettingValue + PartialOrd>(
    bounds: RangeInclusive<T>,
) -> impl Fn(T) -> Result<T, Invalid> {
    move |value| {
        if bounds.contains(&value) {
            return Ok(value);
        }
        let problem =
            format!("is out of bounds: expected {} to {}", bounds.start().show(), bounds.end().show());
        Err(Invalid::new(&value.show(), &problem))
    }
}

/// Checks a part of a URL's path; names that would hide an unversioned route, such as `metrics`, are refused.
pub(super) fn path_segment(text: String) -> Result<String, Invalid> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    let number = text.strip_prefix('v').unwrap_or(&text);
    if plain && text.len() <= 32 && number.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(text);
    }
    Err(Invalid::new(
        &text,
        "is not a version: expected one such as 0.0 or v1, of letters, digits, '.', '-' and '_'",
    ))
}

/// Checks a host name or address without scheme and port, and lower-cases it: host names are case-insensitive
/// (RFC 4343).
pub(super) fn host_name(mut text: String) -> Result<String, Invalid> {
    let name_like = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_name = (1..=253).contains(&text.len()) && text.chars().all(name_like);
    if is_name || text.parse::<IpAddr>().is_ok() {
        text.make_ascii_lowercase();
        return Ok(text);
    }
    Err(Invalid::new(
        &text,
        "is not a host: expected a name such as db.example.org or an IP address, without a port",
    ))
}

pub(super) fn host_names(names: Vec<String>) -> Result<Vec<String>, Invalid> {
    names.into_iter().map(host_name).collect()
}

/// Checks servers, each with or without a port: `db-1, db-2:28016, [::1]:28015`.
pub(super) fn servers(servers: Vec<String>) -> Result<Vec<String>, Invalid> {
    if servers.is_empty() {
        return Err(Invalid::new(
            "",
            "names no server: expected one such as db.example.org or 10.0.0.7:28015",
        ));
    }
    for server in &servers {
        server_and_port(server, 1)?;
    }
    Ok(servers)
}

/// Splits a server into its host and port, with `port` as the default.
pub(super) fn server_and_port(server: &str, port: u16) -> Result<(String, u16), Invalid> {
    if let Ok(host) = host_name(server.to_owned()) {
        return Ok((host, port)); // also an IPv6 address
    }
    let split = server.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = host_name(bare.unwrap_or(host).to_owned()).ok()?;
        let is_bracketed_if_needed = bare.is_some() || !host.contains(':');
        let port = port.parse().ok().filter(|port| *port > 0)?;
        is_bracketed_if_needed.then_some((host, port))
    });
    split.ok_or_else(|| {
        Invalid::new(
            server,
            "is not a server: expected one such as db.example.org, 10.0.0.7:28015 or [::1]:28015",
        )
    })
}

pub(super) fn user_name(text: String) -> Result<String, Invalid> {
    if (1..=128).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Invalid::new(&text, "is not a user name: expected up to 128 characters"))
}

/// Checks web origins as browsers send them (RFC 6454): scheme, host, port, nothing else.
pub(super) fn origins(origins: Vec<String>) -> Result<Vec<String>, Invalid> {
    origins.into_iter().map(origin).collect()
}

fn origin(mut text: String) -> Result<String, Invalid> {
    if text == "*" {
        return Err(Invalid::new(
            &text,
            "would let every web page control the cluster: name the origins, comma separated",
        ));
    }
    text.make_ascii_lowercase();
    let authority =
        text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    if authority.is_empty()
        || authority.contains(|c: char| matches!(c, '/' | '?' | '#' | '@' | '*') || !c.is_ascii_graphic())
    {
        return Err(Invalid::new(
            &text,
            "is not an origin: expected one such as https://ui.example.org:8443, without a path",
        ));
    }
    Ok(text)
}

/// Checks the webhook's URL. Credentials in it are refused, because it is logged.
pub(super) fn webhook_url(text: String) -> Result<String, Invalid> {
    let is_url = |uri: http::Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    };
    if text.is_empty() || text.parse().is_ok_and(is_url) {
        return Ok(text);
    }
    Err(Invalid::new(
        &text,
        "is not a URL that events can be sent to: expected http://HOST:PORT/PATH or https://…, without a user or password",
    ))
}

pub(super) fn database_name(text: String) -> Result<String, Invalid> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if plain && (1..=64).contains(&text.len()) {
        return Ok(text);
    }
    Err(Invalid::new(&text, "is not a database name: expected up to 64 letters, digits, '-' and '_'"))
}

pub(super) fn folder(path: PathBuf) -> Result<PathBuf, Invalid> {
    if path.starts_with("~") {
        return Err(Invalid::new(
            &path.show(),
            "begins with ~, which is not expanded here: expected the whole path",
        ));
    }
    Ok(path)
}

pub(super) fn endpoint(text: String) -> Result<String, Invalid> {
    let known =
        ["unix:///", "tcp://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if known && text.chars().all(|c| !c.is_whitespace() && !c.is_control()) {
        return Ok(text);
    }
    Err(Invalid::new(&text, "is not an endpoint: expected unix:///PATH or tcp://HOST:PORT"))
}

/// A filter of tracing's targets. It takes any single word for the name of a module, including a misspelt level, so each
/// directive has to name a level.
pub(super) fn log_filter(text: String) -> Result<String, Invalid> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = |directive: &str| {
        let level = directive.rsplit('=').next().unwrap_or_default().trim();
        LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    };
    if text.split(',').all(level) {
        return Ok(text);
    }
    Err(Invalid::new(
        &text,
        "is not a log filter: expected off, error, warn, info, debug or trace, or info,MODULE=debug",
    ))
}
