//! `kdaemon watch`: the cluster on one screen, updated live.

use super::CliContext;
use super::client::ApiRequest;
use super::error::CliError;
use super::event_stream::EventFollower;
use super::events::{facts, line};
use super::names::NameCache;
use super::output::print;
use super::status::ClusterSummary;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The shortest time between two reads of the cluster's state.
const PERIOD: Duration = Duration::from_millis(250);
/// How many of the latest events are shown.
const EVENTS: usize = 8;
/// The pause after reading the state is this multiple of the time it took, so that large clusters are read less often.
const SHARE: u32 = 5;

/// The alternate screen of the terminal. Dropping it restores the previous contents and the cursor.
struct Screen;

impl Screen {
    fn open() -> Result<Self, CliError> {
        print("\u{1b}[?1049h\u{1b}[?25l")?;
        Ok(Self)
    }

    /// Replaces the contents of the screen; text is cut to its size.
    fn show(&self, text: &str) -> Result<(), CliError> {
        let (height, width) = console::Term::stdout().size();
        let mut drawn = String::from("\u{1b}[H");
        for line in text.lines().take(usize::from(height).saturating_sub(1)) {
            drawn.push_str(&console::truncate_str(line, usize::from(width), "…"));
            drawn.push_str("\u{1b}[K\r\n");
        }
        drawn.push_str("\u{1b}[J");
        print(&drawn)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = print("\u{1b}[?25h\u{1b}[?1049l");
    }
}

/// Runs until Ctrl-C.
pub(super) async fn run(cx: &CliContext) -> Result<(), CliError> {
    if !console::Term::stdout().is_term() {
        return Err(CliError::Usage(
            "watch needs a terminal; use `kdaemon status` or `kdaemon events -f` instead".to_owned(),
        ));
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // A failure at the start is reported on the regular screen.
    let status = ClusterSummary::ask(cx).await?;
    let screen = Screen::open()?;
    tokio::select! {
        result = live(cx, &screen, status) => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

async fn live(cx: &CliContext, screen: &Screen, mut status: ClusterSummary) -> Result<(), CliError> {
    let request = ApiRequest::get(&["events", "stream"])?.query("kind", facts());
    let mut stream = EventFollower::new(cx.client.clone(), request, status.seq().unwrap_or(0)).quiet();
    let mut names = NameCache::default();
    let mut events = VecDeque::new();
    let mut is_stale = false;
    let mut next = Instant::now();
    let mut was_connected = false;
    let mut is_lost = false;
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        draw(screen, &status, &events, is_lost)?;
        // Receives events until the state is due to be read again.
        loop {
            let can_look = is_stale && stream.is_connected();
            let due = tokio::time::sleep_until(next.max(Instant::now() + Duration::from_millis(10)).into());
            tokio::select! {
                event = stream.step() => {
                    if let Some(event) = event? {
                        is_stale = true;
                        events.push_back(line(cx, &event.row, &mut names).await);
                        if events.len() > EVENTS {
                            events.pop_front();
                        }
                    } else if stream.is_connected() != was_connected {
                        was_connected = stream.is_connected();
                        is_lost = !was_connected;
                        is_stale |= was_connected;
                        break;
                    }
                }
                _ = resized.recv() => break,
                () = due, if can_look => break,
            }
        }
        if is_stale && stream.is_connected() {
            let begun = Instant::now();
            match ClusterSummary::ask(cx).await {
                Ok(now) => {
                    status = now;
                    is_stale = false;
                }
                // The stream reconnects, and the state is read after that.
                Err(CliError::Unreachable(_)) => {}
                Err(failure) => return Err(failure),
            }
            next = Instant::now() + PERIOD.max(begun.elapsed() * SHARE);
        }
    }
}

fn draw(
    screen: &Screen,
    status: &ClusterSummary,
    events: &VecDeque<String>,
    is_lost: bool,
) -> Result<(), CliError> {
    let (height, _) = console::Term::stdout().size();
    let below = if events.is_empty() { 0 } else { events.len() + 2 };
    let mut text = status.text(usize::from(height).saturating_sub(below + 2).max(8));
    if is_lost {
        let gone = console::style("no connection to the daemon; reconnecting").red();
        text = format!("{gone}\n{text}");
    }
    if !events.is_empty() {
        text.push_str("\nLATEST EVENTS\n");
        text.extend(events.iter().map(String::as_str));
    }
    screen.show(&text)
}
