//! Times as people write and read them.

use crate::config::parse_duration;
use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc};
use http::HeaderMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The accepted forms of a time, for `--help`.
pub(super) const FORMS: &str = "\
TIME is one of:
  812                        the state after event 812
  now
  90s ago, 10m ago, 2h ago, 3d ago
  03:02, 03:02:11            the most recent time of day
  today 14:00, yesterday 14:00
  2026-11-22, \"2026-11-22 14:00\"
  2026-11-22T14:00:00Z       RFC 3339, with a zone
Times without a zone are in the time zone of this machine; the time that was used is printed on stderr. Relative times
refer to the log's clock, which may be ahead of the machine's (see `kdaemon status`).";

/// How far the log's clock is ahead of the daemon's machine, in milliseconds, according to the last response. (One process
/// speaks to one daemon.)
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Takes note of how far the log's clock is ahead, from the headers of a response.
pub(super) fn note_clock(headers: &HeaderMap) {
    let ahead = headers.get("x-kdaemon-clock-ahead").and_then(|ahead| ahead.to_str().ok()?.parse().ok());
    let ahead = Duration::try_from_secs_f64(ahead.unwrap_or(0.0)).unwrap_or_default();
    AHEAD.store(i64::try_from(ahead.as_millis()).unwrap_or(0), Ordering::Relaxed);
}

/// How far the log's clock is ahead; zero if it is not.
pub(super) fn clock_ahead() -> TimeDelta {
    TimeDelta::milliseconds(AHEAD.load(Ordering::Relaxed))
}

/// The present by the log's clock, to which ages and relative times refer: the log never goes back, so that its clock may
/// be ahead of the machine's.
fn log_now() -> DateTime<Local> {
    let now = Local::now();
    now.checked_add_signed(clock_ahead()).unwrap_or(now)
}

/// A point in history on the command line. A relative one is known once the daemon has told its clock.
#[derive(Debug, Clone)]
pub(super) struct PointText(String);

impl PointText {
    /// Checks a seq or a time.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        EventOrTime::parse_at(text, &Local::now()).map(|_| Self(text.to_owned()))
    }

    /// Whether the point depends on the present.
    pub(super) fn is_relative(&self) -> bool {
        let now = Local::now();
        // Longer than a day, and no multiple of one: then a time of day is another one.
        let later = now + TimeDelta::hours(36);
        EventOrTime::parse_at(&self.0, &now) != EventOrTime::parse_at(&self.0, &later)
    }

    /// The point, as seen from the present of the log.
    pub(super) fn resolve(&self) -> Result<EventOrTime, String> {
        EventOrTime::parse_at(&self.0, &log_now())
    }
}

/// A time on the command line. A relative one is known once the daemon has told its clock.
#[derive(Debug, Clone)]
pub(super) struct TimeText(PointText);

impl TimeText {
    /// Checks a time; a seq is not accepted.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        moment(text.trim(), &Local::now()).map(|_| Self(PointText(text.trim().to_owned())))
    }

    /// The point in history.
    pub(super) fn point(&self) -> &PointText {
        &self.0
    }
}

/// A point in the history of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventOrTime {
    /// The state after this event.
    Seq(u64),
    /// The state at this time.
    Moment(DateTime<Utc>),
}

impl EventOrTime {
    fn parse_at<Tz: TimeZone>(text: &str, now: &DateTime<Tz>) -> Result<Self, String> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Seq).map_err(|_| format!("seq `{text}` is too large"));
        }
        moment(text, now).map(Self::Moment)
    }

    /// The form in which the API accepts either.
    pub(super) fn written(self) -> String {
        match self {
            Self::Seq(seq) => seq.to_string(),
            Self::Moment(moment) => rfc3339(moment),
        }
    }

    /// The query parameter that selects the state at this point.
    pub(super) fn parameter(self) -> (&'static str, String) {
        match self {
            Self::Seq(_) => ("seq", self.written()),
            Self::Moment(_) => ("at", self.written()),
        }
    }

    /// The point for people, in the local time zone.
    pub(super) fn words(self) -> String {
        match self {
            Self::Seq(seq) => format!("event {seq}"),
            Self::Moment(moment) => local(moment),
        }
    }
}

fn moment<Tz: TimeZone>(text: &str, now: &DateTime<Tz>) -> Result<DateTime<Utc>, String> {
    let unknown = || {
        format!(
            "`{text}` is not a time; use a form such as 2026-11-22T14:00:00Z, \"10m ago\", 03:02, \"yesterday 14:00\", \
             \"2026-11-22 14:00\" or now"
        )
    };
    if text == "now" {
        return Ok(now.to_utc());
    }
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.to_utc());
    }
    if let Some(span) = text.strip_suffix("ago") {
        let span = parse_duration(span.trim()).map_err(|error| format!("`{text}`: {error}"))?;
        let span = TimeDelta::from_std(span).map_err(|_| unknown())?;
        return now.to_utc().checked_sub_signed(span).ok_or_else(unknown);
    }
    let today = now.date_naive();
    let yesterday = || today.pred_opt().ok_or_else(unknown);
    if let Some(time) = clock(text) {
        // The most recent time of day, which may be yesterday's.
        let then = at(today.and_time(time), now, text)?;
        return if then <= now.to_utc() { Ok(then) } else { at(yesterday()?.and_time(time), now, text) };
    }
    let (day, time) = match text.split_once([' ', 'T']) {
        Some((day, time)) => (day, clock(time.trim()).ok_or_else(unknown)?),
        None => (text, NaiveTime::MIN),
    };
    let day = match day {
        "today" => today,
        "yesterday" => yesterday()?,
        date => NaiveDate::parse_from_str(date, "%Y-%m-%d").map_err(|_| unknown())?,
    };
    at(day.and_time(time), now, text)
}

fn clock(text: &str) -> Option<NaiveTime> {
    ["%H:%M", "%H:%M:%S"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok())
}

/// The moment of a local time: the earlier of two when clocks were set back.
fn at<Tz: TimeZone>(wall: NaiveDateTime, now: &DateTime<Tz>, text: &str) -> Result<DateTime<Utc>, String> {
    let there = now.timezone().from_local_datetime(&wall).earliest();
    there
        .map(|moment| moment.to_utc())
        .ok_or_else(|| format!("`{text}` does not exist in this time zone: clocks were set forward over it"))
}

/// A moment as the API accepts it, with milliseconds.
pub(super) fn rfc3339(moment: DateTime<Utc>) -> String {
    moment.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// A moment in the local time zone, with its offset.
pub(super) fn local(moment: DateTime<Utc>) -> String {
    moment.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S %:z").to_string()
}

/// The time of day in the local time zone.
pub(super) fn time_of_day(moment: DateTime<Utc>) -> String {
    moment.with_timezone(&Local).format("%H:%M:%S").to_string()
}

/// How long ago a moment was by the log's clock: `3m ago`.
pub(super) fn ago(moment: DateTime<Utc>) -> String {
    since(log_now().to_utc() - moment)
}

fn since(span: TimeDelta) -> String {
    let seconds = span.num_seconds();
    match seconds {
        ..=0 => "now".to_owned(),
        1..120 => format!("{seconds}s ago"),
        120..7_200 => format!("{}m ago", seconds / 60),
        7_200..172_800 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// The time of creation, which is part of an id: ids are UUIDs of version 7 (RFC 9562).
pub(super) fn made_at(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

/// How long ago a thing with this id was created; empty for an id without a time.
pub(super) fn age(id: Uuid) -> String {
    made_at(id).map(ago).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use chrono::FixedOffset;

    fn parsed(text: &str) -> Result<String, String> {
        let zone = FixedOffset::east_opt(3600).unwrap();
        let now = zone.with_ymd_and_hms(2026, 11, 22, 2, 0, 0).unwrap();
        EventOrTime::parse_at(text, &now).map(EventOrTime::written)
    }

    #[test]
    fn local_times_are_read_in_the_time_zone_of_the_machine() {
        for (text, expected) in [
            ("812", "812"),
            ("now", "2026-11-22T01:00:00.000Z"),
            ("10m ago", "2026-11-22T00:50:00.000Z"),
            ("2d ago", "2026-11-20T01:00:00.000Z"),
            ("01:30", "2026-11-22T00:30:00.000Z"),
            ("03:02", "2026-11-21T02:02:00.000Z"), // at 02:00 this is yesterday's
            ("03:02:11", "2026-11-21T02:02:11.000Z"),
            ("today 03:02", "2026-11-22T02:02:00.000Z"),
            ("yesterday 14:00", "2026-11-21T13:00:00.000Z"),
            ("yesterday", "2026-11-20T23:00:00.000Z"),
            ("2026-01-31 14:00", "2026-01-31T13:00:00.000Z"),
            ("2026-01-31T14:00:05", "2026-01-31T13:00:05.000Z"),
            ("2026-01-31T14:00:05Z", "2026-01-31T14:00:05.000Z"),
            ("2026-01-31T14:00:05.25+02:00", "2026-01-31T12:00:05.250Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn invalid_times_are_refused() {
        for text in
            ["", "soon", "25:00", "10 ago", "tomorrow 10:00", "2026-02-30", "-5m", "99999999999999999999999"]
        {
            assert!(parsed(text).is_err(), "{text}");
        }
        assert!(parsed("10 ago").unwrap_err().contains("unit"), "{:?}", parsed("10 ago"));
    }

    #[test]
    fn relative_points_change_with_the_present() {
        for (text, relative) in [
            ("812", false),
            ("2026-11-22", false),
            ("2026-11-22T14:00:00Z", false),
            ("now", true),
            ("10m ago", true),
            ("03:02", true),
            ("yesterday 14:00", true),
        ] {
            assert_eq!(PointText::parse(text).unwrap().is_relative(), relative, "{text}");
        }
        assert!(TimeText::parse("812").is_err());
    }

    #[test]
    fn ages_have_one_unit() {
        let words = |seconds| since(TimeDelta::seconds(seconds));
        assert_eq!(
            [-5, 1, 119, 120, 7_199, 7_200, 200_000].map(words).join(","),
            "now,1s ago,119s ago,2m ago,119m ago,2h ago,2d ago"
        );
    }
}
