//! `ls` and `get` of nodes, applications and containers.

use super::Context;
use super::client::Request;
use super::failure::Failure;
use super::json::Json;
use super::names::Names;
use super::output::{Format, json, print, print_bytes, say, thing, yaml};
use super::table::{Table, bytes, coloured, plain, word};
use super::when::{age, ago, made_at};
use kdaemon_api::{ApplicationRow, ContainerRow, EventRow, NodeRow};
use kdaemon_events::MilliCpus;
use std::fmt::Display;
use uuid::Uuid;

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nodes,
    Applications,
    Containers,
}

impl Kind {
    /// The segment in the paths of the API.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Applications => "applications",
            Self::Containers => "containers",
        }
    }

    /// The singular, for messages.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Nodes => "node",
            Self::Applications => "application",
            Self::Containers => "container",
        }
    }
}

/// Options that select rows.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ListArgs {
    /// Only rows whose field has this value, such as state=UP; repeat it to allow several values
    #[arg(short, long = "filter", value_name = "FIELD=VALUE", value_parser = pair)]
    filters: Vec<(String, String)>,
    /// Only rows with this label, such as zone=a or gpu
    #[arg(short, long = "label", value_name = "LABEL[=VALUE]")]
    labels: Vec<String>,
}

/// Parses `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err(format!("expected NAME=VALUE, got `{text}`")),
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

/// Lists the selected rows.
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
                say(format_args!("no {} found", kind.path()));
            } else {
                print(&table.text())?;
            }
        }
    }
    Ok(())
}

/// Writes the text to stdout once a large piece has accumulated.
fn flush(text: &mut Vec<u8>) -> Result<(), Failure> {
    if text.len() >= 64 * 1024 {
        print_bytes(text)?;
        text.clear();
    }
    Ok(())
}

/// Reports which point in history is shown, unless it is now.
pub(super) fn tell(cx: &Context, seq: Option<u64>) {
    if let Some(point) = cx.client.point() {
        let seq = seq.map(|seq| format!(" (event {seq})")).unwrap_or_default();
        let words = point.words();
        let seq = if words == seq.trim_matches([' ', '(', ')']) { String::new() } else { seq };
        say(format_args!("as of {words}{seq}"));
    }
}

/// The rows as a table sorted by name, and the seq of the state that it shows.
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
    let width = table.width();
    let mut add = |mut cells: Vec<String>| {
        cells.truncate(width);
        table.row(cells);
        Ok(())
    };
    let client = &cx.client;
    let seq = match kind {
        Kind::Nodes => client.list(request, |row: NodeRow, _| add(node_cells(&row))).await?,
        Kind::Applications => {
            client.list(request, |row: ApplicationRow, _| add(application_cells(&row))).await?
        }
        Kind::Containers => {
            client.list(request, |row: ContainerRow, _| add(container_cells(&row, &names))).await?
        }
    };
    table.sort();
    Ok((table, seq))
}

/// The cell of a value that may be absent.
fn cell(value: Option<&str>) -> String {
    value.map(plain).unwrap_or_default()
}

fn joined(items: &[String]) -> String {
    items.iter().map(|item| plain(item)).collect::<Vec<_>>().join(", ")
}

fn cpus(cpus: MilliCpus) -> String {
    serde_json::json!(cpus).to_string().trim_end_matches(".0").to_owned()
}

/// The cells of a node; a wide table has all of them.
fn node_cells(row: &NodeRow) -> Vec<String> {
    let engine = row.engine.as_ref();
    let labels = row.labels.iter().map(|(label, value)| format!("{label}={}", shown(value)));
    vec![
        plain(&row.name),
        coloured(&word(row.state)),
        coloured(&word(row.availability)),
        match row.capacity {
            Some(capacity) => format!("{}/{capacity}", row.container_count),
            None => row.container_count.to_string(),
        },
        plain(&row.endpoint),
        age(row.id),
        engine.map(|engine| cpus(engine.cpus)).unwrap_or_default(),
        engine.map(|engine| bytes(engine.memory_bytes)).unwrap_or_default(),
        engine.map(|engine| plain(&format!("{} {}", engine.kind, engine.version))).unwrap_or_default(),
        labels.collect::<Vec<_>>().join(", "),
        cell(row.reason.as_deref()),
        row.id.to_string(),
    ]
}

/// A label's value; an empty one as `""`.
fn shown(value: &str) -> String {
    if value.is_empty() { "\"\"".to_owned() } else { plain(value) }
}

/// The cells of an application; a wide table has all of them.
fn application_cells(row: &ApplicationRow) -> Vec<String> {
    let limits = [
        row.resources.cpus.map(|limit| format!("{} cpus", serde_json::json!(limit))),
        row.resources.memory_bytes.map(bytes),
    ];
    vec![
        plain(&row.name),
        plain(&row.docker_image),
        row.replicas.map(|replicas| replicas.to_string()).unwrap_or_default(),
        plain(&row.exposed_ports),
        age(row.id),
        row.is_enabled.to_string(),
        plain(&row.restart_policy),
        limits.into_iter().flatten().collect::<Vec<_>>().join(", "),
        joined(&row.volumes),
        joined(&row.constraints),
        joined(&row.dependencies),
        row.id.to_string(),
    ]
}

/// The cells of a container; a wide table has all of them.
fn container_cells(row: &ContainerRow, names: &Names) -> Vec<String> {
    let name = |id: Option<Uuid>| id.map(|id| names.known(&id.to_string())).unwrap_or_default();
    let ports = row.ports.iter().map(|port| published(port.host, port.container, &port.protocol));
    vec![
        plain(&row.name),
        coloured(&word(row.status)),
        name(row.node_id),
        name(row.application_id),
        cell(row.access_link.as_deref()),
        row.restarts.to_string(),
        age(row.id),
        ports.collect::<Vec<_>>().join(", "),
        row.generation.to_string(),
        cell(row.container_id.as_deref()).chars().take(12).collect(),
        cell(row.reason.as_deref()),
        row.id.to_string(),
    ]
}

/// Published ports, in the form `HOST:CONTAINER`, followed by `/PROTOCOL` unless it is TCP.
pub(super) fn ports(ports: &[Json]) -> String {
    ports.iter().map(port).collect::<Vec<_>>().join(", ")
}

fn port(port: &Json) -> String {
    published(
        port.whole("host").unwrap_or_default(),
        port.whole("container").unwrap_or_default(),
        port.text("protocol").unwrap_or_default(),
    )
}

fn published(host: impl Display, container: impl Display, protocol: &str) -> String {
    let protocol = if protocol == "tcp" { String::new() } else { format!("/{protocol}") };
    format!("{host}:{container}{protocol}")
}

/// Shows the named rows one after another.
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
            for (label, value) in [
                ("created", row.text("id").and_then(|id| id.parse().ok()).and_then(made_at).map(ago)),
                ("changed", changed),
            ] {
                if let Some(value) = value {
                    text.push_str(&line(label, &value));
                }
            }
            text
        })
    })
    .await
}

/// When a row changed last, by which event and by whom.
async fn last_change(cx: &Context, row: &Json) -> Option<String> {
    let seq = row.whole("seq")?.to_string();
    // A pruned event has only its seq, which is a field of the row anyway.
    let event: EventRow = cx.client.typed(Request::get(&["events", &seq]).ok()?).await.ok()?;
    let (at, actor) = (ago(event.at), plain(event.actor.name()));
    Some(format!("{at}, {} by {actor} (event {seq})", plain(&event.kind)))
}

/// A row with one line per field. `name` looks up the names of nodes and applications by id.
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

/// Prints a document as JSON or YAML, or rendered for people by `table` (`true`: with more columns).
pub(super) fn document(
    cx: &Context,
    value: &Json,
    table: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    match cx.output.unwrap_or(Format::Table) {
        Format::Json => print(&json(value)?),
        Format::Yaml => print(&yaml(value)?),
        Format::Name => {
            Err(Failure::Usage("-o name applies to lists only; use json, yaml or table".to_owned()))
        }
        format => print(&table(format == Format::Wide)),
    }
}
