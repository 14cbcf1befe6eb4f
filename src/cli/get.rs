//! `ls` and `get` of nodes, applications and containers.

use super::CliContext;
use super::cells::{details, line};
use super::change::each;
use super::client::ApiRequest;
use super::columns::{self, Column, shown};
use super::error::CliError;
use super::fields::pair;
use super::json::Json;
use super::kind::ResourceKind;
use super::names::{NameCache, NamedRow};
use super::output::{Format, print, print_bytes, row, say, yaml};
use super::table::{TextTable, plain};
use super::when::{ago, made_at};
use kdaemon_api::EventRow;
use serde::de::{DeserializeOwned, IgnoredAny};
use uuid::Uuid;

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

impl ListArgs {
    pub(super) fn request(&self, kind: ResourceKind) -> Result<ApiRequest, CliError> {
        let mut request = ApiRequest::get(&[kind.path()])?;
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
pub(super) async fn list(cx: &CliContext, kind: ResourceKind, args: &ListArgs) -> Result<(), CliError> {
    let request = args.request(kind)?;
    let format = cx.output.unwrap_or(Format::Table);
    match format {
        Format::Json => {
            let mut begun = false;
            let mut text = Vec::new();
            let take = |_: IgnoredAny, row: &[u8]| {
                text.extend_from_slice(if begun { b",\n " } else { b"[" });
                begun = true;
                text.extend_from_slice(row);
                flush(&mut text)
            };
            let seq = cx.client.list(request, take).await?;
            text.extend_from_slice(if begun { b"]\n" } else { b"[]\n" });
            print_bytes(&text)?;
            tell(cx, seq);
        }
        Format::Yaml => {
            let mut begun = false;
            let mut text = Vec::new();
            let take = |row: Json, _: &[u8]| {
                begun = true;
                text.extend_from_slice(yaml(&[row])?.as_bytes());
                flush(&mut text)
            };
            let seq = cx.client.list(request, take).await?;
            if !begun {
                text.extend_from_slice(b"[]\n");
            }
            print_bytes(&text)?;
            tell(cx, seq);
        }
        Format::Name => {
            let mut text = Vec::new();
            let take = |row: NamedRow, _: &[u8]| {
                text.extend_from_slice(row.name.as_bytes());
                text.push(b'\n');
                flush(&mut text)
            };
            let seq = cx.client.list(request, take).await?;
            print_bytes(&text)?;
            tell(cx, seq);
        }
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            let (table, seq) = match kind {
                ResourceKind::Nodes => table(cx, request, columns::NODE, &NameCache::default(), wide).await?,
                ResourceKind::Applications => {
                    table(cx, request, columns::APPLICATION, &NameCache::default(), wide).await?
                }
                ResourceKind::Containers => {
                    let names = NameCache::of_state(&cx.client).await?;
                    table(cx, request, columns::CONTAINER, &names, wide).await?
                }
            };
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
fn flush(text: &mut Vec<u8>) -> Result<(), CliError> {
    if text.len() >= 64 * 1024 {
        print_bytes(text)?;
        text.clear();
    }
    Ok(())
}

/// Reports which point in history is shown, unless it is now.
pub(super) fn tell(cx: &CliContext, seq: Option<u64>) {
    if let Some(point) = cx.client.point() {
        let seq = seq.map(|seq| format!(" (event {seq})")).unwrap_or_default();
        let words = point.words();
        let seq = if words == seq.trim_matches([' ', '(', ')']) { String::new() } else { seq };
        say(format_args!("as of {words}{seq}"));
    }
}

/// The rows as a table sorted by name, and the seq of the state that it shows.
async fn table<R: DeserializeOwned>(
    cx: &CliContext,
    request: ApiRequest,
    columns: &[Column<R>],
    names: &NameCache,
    wide: bool,
) -> Result<(TextTable, Option<u64>), CliError> {
    let columns = shown(columns, wide);
    let heads: Vec<_> = columns.iter().map(|column| column.head).collect();
    let mut table = TextTable::new(&heads);
    let add = |row: R, _: &[u8]| {
        table.row(columns.iter().map(|column| (column.cell)(&row, names)));
        Ok(())
    };
    let seq = cx.client.list(request, add).await?;
    table.sort();
    Ok((table, seq))
}

/// Shows the named rows one after another.
pub(super) async fn get(cx: &CliContext, kind: ResourceKind, names: &[String]) -> Result<(), CliError> {
    each(names, async |name| {
        let reply = cx.client.read(ApiRequest::get(&[kind.path(), name])?).await?;
        tell(cx, reply.seq);
        let format = cx.output.unwrap_or(Format::Table);
        let mut known = NameCache::default();
        let mut footer = Vec::new();
        if matches!(format, Format::Table | Format::Wide) {
            let (json, named): (Json, NamedRow) = (reply.json()?, reply.typed()?);
            for id in ["node_id", "application_id"].iter().filter_map(|field| json.text(field)?.parse().ok())
            {
                known.learn(&cx.client, id).await;
            }
            footer.extend(made_at(named.id).map(|at| ("created", ago(at))));
            footer.extend(last_change(cx, &named).await.map(|change| ("changed", change)));
        }
        row(&reply, format, |json, _| {
            let name = |id: &str| match id.parse::<Uuid>().ok().and_then(|id| known.lookup(id)) {
                Some(name) => format!("{name} ({})", plain(id)),
                None => plain(id),
            };
            let mut text = details(json, name);
            text.extend(footer.iter().map(|(label, value)| line(label, value)));
            text
        })
    })
    .await
}

/// When a row changed last, by which event and by whom.
async fn last_change(cx: &CliContext, row: &NamedRow) -> Option<String> {
    let seq = row.seq?.to_string();
    // A pruned event has only its seq, which is a field of the row anyway.
    let event: EventRow = cx.client.typed(ApiRequest::get(&["events", &seq]).ok()?).await.ok()?;
    let (at, actor) = (ago(event.at), plain(event.actor.name()));
    Some(format!("{at}, {} by {actor} (event {seq})", plain(&event.kind)))
}
