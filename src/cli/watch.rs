//! `kdaemon watch`: the cluster on one screen, live.

use super::Context;
use super::client::Request;
use super::events::{facts, line};
use super::failure::Failure;
use super::names::Names;
use super::output::print;
use super::sse::Stream;
use super::status::Status;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// The screen is drawn again at most so often.
const PERIOD: Duration = Duration::from_millis(250);
/// How many of the latest events stand below.
const EVENTS: usize = 8;
/// Reading the state takes at most this part of the time: a large cluster is looked at less often.
const SHARE: u32 = 5;

/// The terminal while it is used as a screen. It is as before when this is dropped.
struct Screen;

impl Screen {
    fn open() -> Result<Self, Failure> {
        print("\u{1b}[?1049h\u{1b}[?25l")?;
        Ok(Self)
    }

    /// Shows a text in place of what was there, cut to the screen.
    fn show(&self, text: &str) -> Result<(), Failure> {
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
        // When the terminal is gone there is nothing to restore.
        let _ = print("\u{1b}[?25h\u{1b}[?1049l");
    }
}

/// Shows it until ctrl-c.
pub(super) async fn run(cx: &Context) -> Result<(), Failure> {
    if !console::Term::stdout().is_term() {
        return Err(Failure::Usage(
            "watch needs a terminal; `kdaemon status` and `kdaemon events -f` do not".to_owned(),
        ));
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // What is wrong at the start is said on the usual screen.
    let status = Status::ask(cx).await?;
    let screen = Screen::open()?;
    tokio::select! {
        result = live(cx, &screen, status) => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    }
}

async fn live(cx: &Context, screen: &Screen, mut status: Status) -> Result<(), Failure> {
    let request = Request::get(&["events", "stream"])?.query("kind", facts());
    let mut stream = Stream::new(cx.client.clone(), request, status.seq().unwrap_or(0)).quiet();
    let mut names = Names::default();
    let mut events = VecDeque::new();
    let mut is_stale = false;
    let mut next = Instant::now();
    let mut was_connected = false;
    let mut is_lost = false;
    let mut resized = signal(SignalKind::window_change())?;
    loop {
        draw(screen, &status, &events, is_lost)?;
        // Takes events until it is time to look again.
        loop {
            let can_look = is_stale && stream.is_connected();
            let due = tokio::time::sleep_until(next.max(Instant::now() + Duration::from_millis(10)).into());
            tokio::select! {
                event = stream.step() => {
                    if let Some(event) = event? {
                        is_stale = true;
                        names.learn_event(&cx.client, &event).await;
                        events.push_back(line(&event, &names));
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
            match Status::ask(cx).await {
                Ok(now) => {
                    status = now;
                    is_stale = false;
                }
                // The stream will tell when it is back.
                Err(Failure::Unreachable(_)) => {}
                Err(failure) => return Err(failure),
            }
            next = Instant::now() + PERIOD.max(begun.elapsed() * SHARE);
        }
    }
}

fn draw(screen: &Screen, status: &Status, events: &VecDeque<String>, is_lost: bool) -> Result<(), Failure> {
    let (height, _) = console::Term::stdout().size();
    let below = if events.is_empty() { 0 } else { events.len() + 2 };
    let mut text = status.text(usize::from(height).saturating_sub(below + 2).max(8));
    if is_lost {
        let gone = console::style("the daemon does not answer; waiting until it is back").red();
        text = format!("{gone}\n{text}");
    }
    if !events.is_empty() {
        text.push_str("\nLATEST EVENTS\n");
        text.extend(events.iter().map(String::as_str));
    }
    screen.show(&text)
}
