//! Reading nodes, applications and containers: all of them, and one.

use super::Context;
use super::client::Request;
use super::failure::Failure;
use super::json::Json;
use super::names::Names;
use super::output::{Format, json, print, print_bytes, say, thing, yaml};
use super::table::{Table, bytes, coloured, plain};
use super::when::{age, ago, made_at, read};

/// Nodes, applications or containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nodes,
    Applications,
    Containers,
}

impl Kind {
    /// As in the API's paths.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Applications => "applications",
            Self::Containers => "containers",
        }
    }

    /// One of them, in words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Nodes => "node",
            Self::Applications => "application",
            Self::Containers => "container",
        }
    }
}

/// Which ones to list.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ListArgs {
    /// Only those whose field has this value, as in state=UP; given twice, one of the values
    #[arg(short, long = "filter", value_name = "FIELD=VALUE", value_parser = pair)]
    filters: Vec<(String, String)>,
    /// Only those with this label, as in zone=a or gpu
    #[arg(short, long = "label", value_name = "LABEL[=VALUE]")]
    labels: Vec<String>,
}

/// Reads `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

impl ListArgs {
    pub(super) fn request(&self, kind: Kind) -> Result<Request, Failure> {
        let mut request = Request::get(&[kind.path()])?;
        for (field, value) in &self.filters {
            request = request.query(field, value);
        }
        for label in &self.labels {
            request = request.query("label", label);
        }
        Ok(request)
    }
}

/// Lists them.
pub(super) async fn list(cx: &Context, kind: Kind, args: &ListArgs) -> Result<(), Failure> {
    let request = args.request(kind)?;
    let format = cx.output.unwrap_or(Format::Table);
    match format {
        Format::Json => {
            let mut begun = false;
            let mut text = Vec::new();
            let seq = cx
                .client
                .list(request, |_: serde::de::IgnoredAny, row| {
                    text.extend_from_slice(if begun { b",\n " } else { b"[" });
                    begun = true;
                    text.extend_from_slice(row);
                    flush(&mut text)
                })
                .await?;
            text.extend_from_slice(if begun { b"]\n" } else { b"[]\n" });
            print_bytes(&text)?;
            tell(cx, seq);
        }
        Format::Yaml => {
            let mut begun = false;
            let mut text = Vec::new();
            let seq = cx
                .client
                .list(request, |row: Json, _| {
                    begun = true;
                    text.extend_from_slice(yaml(&[row])?.as_bytes());
                    flush(&mut text)
                })
                .await?;
            if !begun {
                text.extend_from_slice(b"[]\n");
            }
            print_bytes(&text)?;
            tell(cx, seq);
        }
        Format::Name => {
            let mut text = Vec::new();
            let seq = cx
                .client
                .list(request, |row: Json, _| {
                    text.extend_from_slice(row.text("name").unwrap_or_default().as_bytes());
                    text.push(b'\n');
                    flush(&mut text)
                })
                .await?;
            print_bytes(&text)?;
            tell(cx, seq);
        }
        Format::Table | Format::Wide => {
            let (table, seq) = table(cx, kind, request, format == Format::Wide).await?;
            tell(cx, seq);
            if table.is_empty() {
                say(format_args!("there are no {}", kind.path()));
            } else {
                print(&table.text())?;
            }
        }
    }
    Ok(())
}

/// Text is written in large pieces.
fn flush(text: &mut Vec<u8>) -> Result<(), Failure> {
    if text.len() >= 64 * 1024 {
        print_bytes(text)?;
        text.clear();
    }
    Ok(())
}

/// Says which time is shown, when it is not now.
pub(super) fn tell(cx: &Context, seq: Option<u64>) {
    if let Some(point) = cx.client.point() {
        let seq = seq.map(|seq| format!(" (event {seq})")).unwrap_or_default();
        let words = point.words();
        let seq = if words == seq.trim_matches([' ', '(', ')']) { String::new() } else { seq };
        say(format_args!("as of {words}{seq}"));
    }
}

/// The rows as a table, sorted by name; and the seq of the state that it shows.
pub(super) async fn table(
    cx: &Context,
    kind: Kind,
    request: Request,
    wide: bool,
) -> Result<(Table, Option<u64>), Failure> {
    let names = match kind {
        Kind::Containers => Names::of_state(&cx.client).await?,
        _ => Names::default(),
    };
    let mut table = Table::new(match (kind, wide) {
        (Kind::Nodes, false) => &["NAME", "STATE", "AVAILABILITY", "CONTAINERS", "ENDPOINT", "AGE"],
        (Kind::Nodes, true) => &[
            "NAME",
            "STATE",
            "AVAILABILITY",
            "CONTAINERS",
            "ENDPOINT",
            "AGE",
            "CPUS",
            "MEMORY",
            "ENGINE",
            "LABELS",
            "REASON",
            "ID",
        ],
        (Kind::Applications, false) => &["NAME", "IMAGE", "REPLICAS", "PORTS", "AGE"],
        (Kind::Applications, true) => &[
            "NAME",
            "IMAGE",
            "REPLICAS",
            "PORTS",
            "AGE",
            "ENABLED",
            "RESTART",
            "LIMITS",
            "VOLUMES",
            "CONSTRAINTS",
            "NEEDS",
            "ID",
        ],
        (Kind::Containers, false) => &["NAME", "STATUS", "NODE", "APPLICATION", "LINK", "RESTARTS", "AGE"],
        (Kind::Containers, true) => &[
            "NAME",
            "STATUS",
            "NODE",
            "APPLICATION",
            "LINK",
            "RESTARTS",
            "AGE",
            "PORTS",
            "GENERATION",
            "ENGINE ID",
            "REASON",
            "ID",
        ],
    });
    let seq = cx
        .client
        .list(request, |row: Json, _| {
            let mut cells = match kind {
                Kind::Nodes => node_cells(&row),
                Kind::Applications => application_cells(&row),
                Kind::Containers => container_cells(&row, &names),
            };
            if !wide {
                cells.truncate(match kind {
                    Kind::Nodes => 6,
                    Kind::Applications => 5,
                    Kind::Containers => 7,
                });
            }
            table.row(cells);
            Ok(())
        })
        .await?;
    table.sort();
    Ok((table, seq))
}

/// A field as a cell: what is not there is left blank.
fn cell(row: &Json, field: &str) -> String {
    row.get(field).filter(|value| !value.is_empty()).map(Json::plain).unwrap_or_default()
}

fn node_cells(row: &Json) -> Vec<String> {
    let engine = row.get("engine").unwrap_or(&Json::Null);
    vec![
        cell(row, "name"),
        coloured(row.text("state").unwrap_or_default()),
        coloured(row.text("availability").unwrap_or_default()),
        match row.whole("capacity") {
            Some(capacity) => format!("{}/{capacity}", cell(row, "container_count")),
            None => cell(row, "container_count"),
        },
        cell(row, "endpoint"),
        age(row.text("id").unwrap_or_default()),
        cell(engine, "cpus").trim_end_matches(".0").to_owned(),
        engine.whole("memory_bytes").map(bytes).unwrap_or_default(),
        format!("{} {}", cell(engine, "kind"), cell(engine, "version")).trim().to_owned(),
        cell(row, "labels"),
        cell(row, "reason"),
        cell(row, "id"),
    ]
}

fn application_cells(row: &Json) -> Vec<String> {
    let resources = row.get("resources").unwrap_or(&Json::Null);
    let limits = [
        resources.get("cpus").map(|cpus| format!("{} cpus", cpus.plain())),
        resources.whole("memory_bytes").map(bytes),
    ];
    vec![
        cell(row, "name"),
        cell(row, "docker_image"),
        cell(row, "replicas"),
        cell(row, "exposed_ports"),
        age(row.text("id").unwrap_or_default()),
        cell(row, "is_enabled"),
        cell(row, "restart_policy"),
        limits.into_iter().flatten().collect::<Vec<_>>().join(", "),
        cell(row, "volumes"),
        cell(row, "constraints"),
        cell(row, "dependencies"),
        cell(row, "id"),
    ]
}

fn container_cells(row: &Json, names: &Names) -> Vec<String> {
    let name = |field| row.text(field).map(|id| names.known(id)).unwrap_or_default();
    vec![
        cell(row, "name"),
        coloured(row.text("status").unwrap_or_default()),
        name("node_id"),
        name("application_id"),
        cell(row, "access_link"),
        cell(row, "restarts"),
        age(row.text("id").unwrap_or_default()),
        ports(row.list("ports")),
        cell(row, "generation"),
        cell(row, "container_id").chars().take(12).collect(),
        cell(row, "reason"),
        cell(row, "id"),
    ]
}

/// Published ports, as Docker writes them.
pub(super) fn ports(ports: &[Json]) -> String {
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

fn port(port: &Json) -> String {
    let protocol = port.text("protocol").unwrap_or_default();
    format!(
        "{}:{}{}",
        port.whole("host").unwrap_or_default(),
        port.whole("container").unwrap_or_default(),
        if protocol == "tcp" { String::new() } else { format!("/{protocol}") }
    )
}

/// Shows some of them, one after another.
pub(super) async fn get(cx: &Context, kind: Kind, names: &[String]) -> Result<(), Failure> {
    super::change::each(names, async |name| {
        let answer = cx.client.read(Request::get(&[kind.path(), name])?).await?;
        tell(cx, answer.seq);
        let row = &answer.json;
        let format = cx.output.unwrap_or(Format::Table);
        let mut known = Names::default();
        let mut changed = None;
        if matches!(format, Format::Table | Format::Wide) {
            for field in ["node_id", "application_id"] {
                if let Some(id) = row.text(field) {
                    known.learn(&cx.client, id).await;
                }
            }
            changed = last_change(cx, row).await;
        }
        thing(row, format, |_| {
            let mut text = text(row, &|id| known.lookup(id));
            for (label, value) in [("made", row.text("id").and_then(made_at).map(ago)), ("changed", changed)]
            {
                if let Some(value) = value {
                    text.push_str(&line(label, &value));
                }
            }
            text
        })
    })
    .await
}

/// When a thing changed last, by whom, and how.
async fn last_change(cx: &Context, row: &Json) -> Option<String> {
    let seq = row.whole("seq")?.to_string();
    // It may be pruned: then the seq alone is known, and it is among the fields.
    let event = cx.client.ask(Request::get(&["events", &seq]).ok()?).await.ok()?.json;
    let actor = event.get("actor").map(super::events::actor).unwrap_or_default();
    let at = event.text("at").and_then(read).map(ago)?;
    Some(format!("{at}, {} by {actor} (event {seq})", event.text("kind").unwrap_or_default()))
}

/// A row, field by field; `name` gives ids of other things their names.
pub(super) fn text(row: &Json, name: &dyn Fn(&str) -> Option<String>) -> String {
    let Json::Object(fields) = row else { return format!("{}\n", row.plain()) };
    let mut text = String::new();
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let value = match (field.as_str(), value) {
            ("node_id" | "application_id", Json::Text(id)) => match name(id) {
                Some(name) => format!("{} ({})", name, plain(id)),
                None => plain(id),
            },
            ("state" | "status" | "availability", Json::Text(status)) => coloured(status),
            ("ports", Json::List(published)) => ports(published),
            (_, value) => value.plain(),
        };
        text.push_str(&line(field, &value));
    }
    text
}

fn line(label: &str, value: &str) -> String {
    format!("{:<18}{value}\n", format!("{label}:"))
}

/// One thing or several as JSON or YAML, or whatever `table` makes of it.
pub(super) fn document(
    cx: &Context,
    value: &Json,
    table: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    match cx.output.unwrap_or(Format::Table) {
        Format::Json => print(&json(value)?),
        Format::Yaml => print(&yaml(value)?),
        Format::Name => Err(Failure::Usage("-o name is for lists of things".to_owned())),
        format => print(&table(format == Format::Wide)),
    }
}
