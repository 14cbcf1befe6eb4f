//! Tables for people: aligned columns without borders.

use bytesize::ByteSize;
use console::measure_text_width;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Rows under a header. Cells may contain ANSI styles, which do not count for the width of a column.
pub(super) struct TextTable {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    pub(super) fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Sorts by the first column in natural order.
    pub(super) fn sort(&mut self) {
        self.rows.sort_by(|a, b| match (a.first(), b.first()) {
            (Some(a), Some(b)) => natural(a, b),
            _ => Ordering::Equal,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Keeps the first rows.
    pub(super) fn truncate(&mut self, rows: usize) {
        self.rows.truncate(rows);
    }

    /// Renders one line per row.
    pub(super) fn text(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| measure_text_width(cell)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(measure_text_width(cell));
            }
        }
        let mut text = String::new();
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let mut padding = 0;
            for (width, cell) in widths.iter().zip(row) {
                // Padding is written before the next cell, so that no line ends in blanks.
                if !cell.is_empty() {
                    let _ = write!(text, "{:padding$}{cell}", "");
                    padding = 0;
                }
                padding += width + 2 - measure_text_width(cell);
            }
            text.push('\n');
        }
        text
    }
}

/// A cell in one line, without control characters other than ANSI styles.
fn one_line(text: &str) -> String {
    if !text.contains(|c: char| c.is_control() && c != '\u{1b}') {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() && c != '\u{1b}' { ' ' } else { c }).collect()
}

/// An untrusted text without control characters, so that it cannot control the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Compares texts in natural order: `web-2` comes before `web-10`.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (in_a, in_b) = (digits(a), digits(b));
        if in_a > 0 && in_b > 0 {
            let (number_a, number_b) = (a[..in_a].trim_start_matches('0'), b[..in_b].trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[in_a..], &b[in_b..]);
            continue;
        }
        let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
        match (rest_a.next(), rest_b.next()) {
            (None, None) => return Ordering::Equal,
            (first_a, first_b) if first_a != first_b => return first_a.cmp(&first_b),
            _ => (a, b) = (rest_a.as_str(), rest_b.as_str()),
        }
    }
}

/// A number of bytes in binary units, with one decimal.
pub(super) fn bytes(number: u64) -> String {
    ByteSize::b(number).display().iec().to_string()
}

/// A status in its colour, unless stdout is not a terminal or `NO_COLOR` is set (`console` checks both).
pub(super) fn coloured(status: &str) -> String {
    let style = console::style(plain(status));
    match status {
        "UP" | "COMPLETED" | "active" => style.green(),
        "DOWN" | "FAILED" | "LOST" => style.red(),
        "LAUNCHING" | "STOPPING" | "PAUSED" | "UNKNOWN" | "cordoned" | "draining" => style.yellow(),
        _ => style,
    }
    .to_string()
}

/// The name of an enum value as the API writes it.
pub(super) fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn columns_align_by_visible_width_without_trailing_blanks() {
        let mut table = TextTable::new(&["NAME", "STATUS", "WHY"]);
        table.row(["日本".into(), "\u{1b}[32mUP\u{1b}[0m".into(), String::new()]);
        table.row(["web-1".into(), String::new(), "two\nlines".into()]);
        let text = table.text();
        let seen = console::strip_ansi_codes(&text);
        assert_eq!(seen, "NAME   STATUS  WHY\n日本   UP\nweb-1          two lines\n");
    }

    #[test]
    fn numbers_in_names_sort_by_value() {
        let mut names = ["web-10", "web-2", "db", "web-2a", "web-02", "web"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["db", "web", "web-2", "web-02", "web-2a", "web-10"]);
    }

    #[test]
    fn bytes_are_shown_in_binary_units() {
        assert_eq!(bytes(1000), "1000 B");
        assert_eq!(bytes(1536 * 1024), "1.5 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }
}
