//! The event stream (Server-Sent Events). It reconnects, and delivers every event exactly once and in order.

use super::client::{ApiClient, ApiRequest};
use super::error::CliError;
use super::event::SentEvent;
use super::output::say;
use std::collections::VecDeque;
use std::time::Duration;

/// Timeout of a silent connection. The daemon sends a comment every 15 seconds.
const SILENCE: Duration = Duration::from_secs(45);
/// The longest backoff between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest accepted line, in bytes.
const LINE_LIMIT: usize = 4 * 1024 * 1024;

/// The events after a given one, indefinitely.
pub(super) struct EventFollower {
    client: ApiClient,
    request: ApiRequest,
    /// Seq of the last delivered event, from which a new connection resumes.
    last: u64,
    connection: Option<http::Response<hyper::body::Incoming>>,
    lines: EventStreamParser,
    ready: VecDeque<(u64, String)>,
    /// `true` if a connection was established before. The first attempt is not repeated.
    was_connected: bool,
    /// `true` if lost and restored connections are not reported.
    quiet: bool,
    pause: Duration,
}

impl EventFollower {
    pub(super) fn new(client: ApiClient, request: ApiRequest, last: u64) -> Self {
        Self {
            client,
            request,
            last,
            connection: None,
            lines: EventStreamParser::default(),
            ready: VecDeque::new(),
            was_connected: false,
            quiet: false,
            pause: Duration::ZERO,
        }
    }

    /// The same stream without reports of lost and restored connections.
    pub(super) fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    fn say(&self, text: std::fmt::Arguments<'_>) {
        if !self.quiet {
            say(text);
        }
    }

    /// `true` if a connection is established.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Waits for the next event, reconnecting as often as needed.
    pub(super) async fn next(&mut self) -> Result<SentEvent, CliError> {
        loop {
            if let Some(event) = self.step().await? {
                return Ok(event);
            }
        }
    }

    /// Advances by one step; `None` when no event was complete, which includes a connection being made or lost.
    pub(super) async fn step(&mut self) -> Result<Option<SentEvent>, CliError> {
        if let Some((seq, text)) = self.ready.pop_front() {
            self.last = self.last.max(seq);
            let event = serde_json::from_str(&text)
                .map_err(|error| CliError::Other(format!("event {seq} cannot be read: {error}")))?;
            return Ok(Some(event));
        }
        let Some(connection) = &mut self.connection else {
            return self.connect().await.map(|()| None);
        };
        match self.client.piece(connection, Some(SILENCE)).await {
            Ok(Some(piece)) => {
                self.pause = Duration::ZERO;
                self.lines.push(&piece, &mut self.ready)?;
            }
            Ok(None) | Err(CliError::Unreachable(_)) => {
                self.connection = None;
                self.lines = EventStreamParser::default();
                self.say(format_args!("lost the connection to {}; reconnecting", self.client.origin()));
            }
            Err(failure) => return Err(failure),
        }
        Ok(None)
    }

    async fn connect(&mut self) -> Result<(), CliError> {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).clamp(Duration::from_millis(100), LONGEST_PAUSE);
        match self.client.open(self.request.clone(), Some(self.last)).await {
            Ok(connection) => {
                if self.was_connected {
                    self.say(format_args!("reconnected"));
                }
                self.was_connected = true;
                self.connection = Some(connection);
                Ok(())
            }
            Err(CliError::Unreachable(_)) if self.was_connected => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// A parser of event streams (WHATWG HTML, "Interpreting an event stream"), limited to the fields the daemon sends.
#[derive(Default)]
struct EventStreamParser {
    line: Vec<u8>,
    id: Option<u64>,
    data: String,
}

impl EventStreamParser {
    fn push(&mut self, piece: &[u8], ready: &mut VecDeque<(u64, String)>) -> Result<(), CliError> {
        for byte in piece {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.take(&String::from_utf8_lossy(&line), ready);
                }
                b'\r' => {}
                _ if self.line.len() >= LINE_LIMIT => {
                    return Err(CliError::Other("a line of the event stream exceeds 4 MiB".to_owned()));
                }
                byte => self.line.push(*byte),
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &str, ready: &mut VecDeque<(u64, String)>) {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            if let Some(id) = self.id.take().filter(|_| !data.is_empty()) {
                ready.push_back((id, data));
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = value.parse().ok(),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn events_are_the_same_for_any_split_into_pieces() {
        let text =
            ": keep-alive\n\nid: 7\ndata: {\"a\":1}\n\nid: 8\r\ndata: [1,\ndata: 2]\r\n\r\nid: 9\ndata: cut";
        for size in 1..text.len() {
            let (mut lines, mut ready) = (EventStreamParser::default(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                lines.push(piece, &mut ready).unwrap();
            }
            let expected = [(7, "{\"a\":1}".to_owned()), (8, "[1,\n2]".to_owned())];
            assert_eq!(ready.into_iter().collect::<Vec<_>>(), expected, "pieces of {size}");
        }
    }
}
