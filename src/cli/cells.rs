//! Values of rows as cells of tables and as lines of details.

use super::json::Json;
use super::table::{coloured, plain};
use kdaemon_api::PortRow;

/// The cell of a value that may be absent.
pub(super) fn optional(value: Option<&str>) -> String {
    value.map(plain).unwrap_or_default()
}

/// The cell of a list of texts.
pub(super) fn joined(items: &[String]) -> String {
    items.iter().map(|item| plain(item)).collect::<Vec<_>>().join(", ")
}

/// Published ports in the form `HOST:CONTAINER`, followed by `/PROTOCOL` unless it is TCP.
pub(super) fn ports(ports: &[PortRow]) -> String {
    let port = |port: &PortRow| {
        let protocol =
            if port.protocol == "tcp" { String::new() } else { format!("/{}", plain(&port.protocol)) };
        format!("{}:{}{protocol}", port.host, port.container)
    };
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

/// The value of a row's field. `name` looks up nodes and applications by id.
pub(super) fn field(field: &str, value: &Json, name: impl Fn(&str) -> String) -> String {
    match (field, value) {
        ("node_id" | "application_id", Json::Text(id)) => name(id),
        ("state" | "status" | "availability", Json::Text(status)) => coloured(status),
        ("ports", value) => match value.typed::<Vec<PortRow>>() {
            Some(published) if !published.is_empty() => ports(&published),
            _ => value.plain(),
        },
        (_, value) => value.plain(),
    }
}

/// A line of details.
pub(super) fn line(label: &str, value: &str) -> String {
    format!("{:<18}{value}\n", format!("{label}:"))
}

/// A row with one line per field, in the order of the daemon; empty fields are omitted.
pub(super) fn details(row: &Json, name: impl Fn(&str) -> String) -> String {
    let Json::Object(fields) = row else { return format!("{}\n", row.plain()) };
    fields
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| line(label, &field(label, value, &name)))
        .collect()
}
