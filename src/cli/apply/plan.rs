//! The plan of `kdaemon apply`: the steps that bring the cluster in line with a file. A dry run of each edit tells what
//! would change, so that the daemon alone decides which values are equal.

use super::compose::Stack;
use super::service::Service;
use crate::cli::Context;
use crate::cli::client::Request;
use crate::cli::failure::Failure;
use crate::cli::json::Json;
use crate::cli::table::plain;
use crate::cli::variables::of_row;
use http::Method;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The label with the name of the stack that an application belongs to.
pub(super) const STACK_LABEL: &str = "kdaemon.stack";

/// The step for one application.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) application: String,
    pub(super) action: Action,
    /// The changes of each field, for people.
    changes: Vec<String>,
    /// The request body with all fields.
    #[serde(skip)]
    pub(super) body: Map<String, Value>,
    #[serde(skip)]
    pub(super) replicas: u32,
    /// Seq of the row that the plan is based on, so that a concurrent edit is not overwritten.
    #[serde(skip)]
    pub(super) seq: Option<u64>,
    /// Whether running containers are replaced.
    #[serde(skip)]
    pub(super) replaces: bool,
}

/// The kind of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Create,
    Change,
    Unchanged,
}

/// The steps for a whole file.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) stack: String,
    /// Steps in the order of execution.
    pub(super) steps: Vec<Step>,
    /// Applications of the stack that are no longer in the file.
    pub(super) vanished: Vec<String>,
    /// Whether vanished applications are removed.
    pub(super) prune: bool,
    /// Unsupported parts of the file, with lines.
    left_out: Vec<String>,
}

impl Plan {
    /// Compares a stack with the cluster.
    pub(super) async fn make(cx: &Context, name: &str, stack: Stack, prune: bool) -> Result<Self, Failure> {
        let mut existing: BTreeMap<String, Json> = BTreeMap::new();
        let mut of_stack: BTreeMap<String, Json> = BTreeMap::new();
        let wanted: BTreeSet<String> = stack.services.iter().map(|service| service.name.clone()).collect();
        cx.client
            .list(Request::get(&["applications"])?, |row: Json, _| {
                let Some(application) = row.text("name").map(str::to_owned) else { return Ok(()) };
                if owner(&row) == Some(name) && !wanted.contains(&application) {
                    of_stack.insert(application, row);
                } else if wanted.contains(&application) {
                    existing.insert(application, row);
                }
                Ok(())
            })
            .await?;
        let mut steps = Vec::new();
        for service in stack.services {
            steps.push(step(cx, name, service, &existing).await?);
        }
        of_stack.retain(|application, _| !stack.inactive.contains(application));
        let left_out = stack.left_out;
        Ok(Self { stack: name.to_owned(), steps, vanished: dependents_first(of_stack), prune, left_out })
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.action == Action::Unchanged) && !self.removes()
    }

    /// Whether something is removed.
    pub(super) fn removes(&self) -> bool {
        self.prune && !self.vanished.is_empty()
    }

    /// The unsupported parts of the file, for people.
    pub(super) fn warnings(&self) -> String {
        if self.left_out.is_empty() {
            return String::new();
        }
        let mut text = "these parts of the file are not supported and were ignored:\n".to_owned();
        for line in &self.left_out {
            let _ = writeln!(text, "  {}", plain(line));
        }
        text
    }

    /// The plan for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("stack {}:\n", self.stack);
        for step in &self.steps {
            let (sign, word) = match step.action {
                Action::Create => ("+", "create"),
                Action::Change => ("~", "change"),
                Action::Unchanged => ("=", "unchanged"),
            };
            let _ = writeln!(text, "{sign} {word} {}", plain(&step.application));
            for change in &step.changes {
                let _ = writeln!(text, "    {}", plain(change));
            }
        }
        for application in &self.vanished {
            let application = plain(application);
            let _ = if self.prune {
                writeln!(text, "- remove {application} and its containers")
            } else {
                writeln!(text, "? {application} is no longer in the file (use --prune to remove it)")
            };
        }
        text
    }
}

/// The name of the stack that an application belongs to.
fn owner(row: &Json) -> Option<&str> {
    row.get("labels").and_then(|labels| labels.text(STACK_LABEL))
}

/// Names of applications, each before its dependencies.
fn dependents_first(mut left: BTreeMap<String, Json>) -> Vec<String> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let needed: BTreeSet<String> =
            left.values().flat_map(|row| row.list("dependencies")).map(Json::plain).collect();
        // The daemon refuses cycles.
        let next = left.keys().find(|name| !needed.contains(*name)).or_else(|| left.keys().next()).cloned();
        if let Some(next) = next {
            left.remove(&next);
            ordered.push(next);
        }
    }
    ordered
}

async fn step(
    cx: &Context,
    stack: &str,
    service: Service,
    existing: &BTreeMap<String, Json>,
) -> Result<Step, Failure> {
    let Service { name, mut body, replicas, .. } = service;
    if let Some(Value::Object(labels)) = body.get_mut("labels") {
        labels.insert(STACK_LABEL.to_owned(), json!(stack));
    }
    // A dry run cannot refer to applications that do not exist yet.
    let mut tried = body.clone();
    let dependencies = tried.get_mut("dependencies").and_then(Value::as_array_mut);
    let mut new_dependencies = Vec::new();
    if let Some(dependencies) = dependencies {
        dependencies.retain(|other| {
            let other = other.as_str().unwrap_or_default();
            let is_there = existing.contains_key(other);
            if !is_there {
                new_dependencies.push(other.to_owned());
            }
            is_there
        });
    }
    let named = |failure: Failure| match failure {
        Failure::Refused(problem) => Failure::Invalid(format!("service `{name}`: {problem}")),
        failure => failure,
    };
    let Some(row) = existing.get(&name) else {
        tried.insert("name".to_owned(), json!(name));
        let request = Request::new(Method::POST, &["applications", "create"])?.body(Value::Object(tried));
        cx.client.ask(request.query("dry_run", "true")).await.map_err(named)?;
        let changes = summary(&body);
        body.insert("name".to_owned(), json!(name));
        let action = Action::Create;
        return Ok(Step { application: name, action, changes, body, replicas, seq: None, replaces: false });
    };
    if let Some(other) = owner(row).filter(|other| *other != stack) {
        return Err(Failure::Invalid(format!(
            "application `{name}` belongs to the stack `{other}`; rename the service, or remove the label \
             {STACK_LABEL} from the application"
        )));
    }
    let request = Request::new(Method::PATCH, &["applications", "update", &name])?.body(Value::Object(tried));
    let answer = cx.client.ask(request.query("dry_run", "true")).await.map_err(named)?;
    let Changes { mut changes, replaces } = changes(row, answer.json.list("events"), &body);
    changes.extend(new_dependencies.iter().map(|other| format!("dependencies: + {other}")));
    let action = if changes.is_empty() { Action::Unchanged } else { Action::Change };
    Ok(Step { application: name, action, changes, body, replicas, seq: row.whole("seq"), replaces })
}

/// The main fields of a new application, one per line.
fn summary(body: &Map<String, Value>) -> Vec<String> {
    let plain = |value: &Value| serde_json::from_value::<Json>(value.clone()).map(|json| json.plain());
    let mut lines = Vec::new();
    for field in
        ["docker_image", "replicas", "exposed_ports", "volumes", "networks", "constraints", "dependencies"]
    {
        let value = body.get(field).filter(|value| !value.as_array().is_some_and(Vec::is_empty));
        if let Some(Ok(text)) = value.map(plain) {
            lines.push(format!("{field}: {text}"));
        }
    }
    lines
}

/// The effect of an edit.
struct Changes {
    changes: Vec<String>,
    replaces: bool,
}

/// The fields of a specification, and whether a change replaces running containers.
const PARTS: [(&str, bool); 19] = [
    ("docker_image", true),
    ("exposed_ports", true),
    ("env_variables", true),
    ("command", true),
    ("entrypoint", true),
    ("volumes", true),
    ("networks", true),
    ("labels", true),
    ("restart_policy", true),
    ("resources", true),
    ("constraints", true),
    ("health_check", true),
    ("registry_auth", true),
    ("strategy", false),
    ("preferences", false),
    ("spread_over", false),
    ("anti_affinity", false),
    ("affinity", false),
    ("disruption_limit", false),
];

/// Compares a row with the events of a dry run, field by field.
fn changes(row: &Json, events: &[Json], body: &Map<String, Value>) -> Changes {
    let mut found = Changes { changes: Vec::new(), replaces: false };
    let of_kind = |kind: &str| events.iter().find(|event| event.text("kind") == Some(kind))?.get("data");
    if let Some(updated) = of_kind("ApplicationUpdated") {
        if let Some(spec) = updated.get("spec") {
            for (field, replaces) in PARTS {
                let (before, after) = (part_of_row(row, field), part_of_spec(spec, field));
                if before != after {
                    found.changes.extend(differences(field, &before, &after));
                    found.replaces |= replaces;
                }
            }
        }
        for field in ["is_enabled", "update_policy"] {
            if let Some(after) = updated.get(field).filter(|after| !after.is_empty()) {
                let before = row.get(field).map(Json::plain).unwrap_or_default();
                found.changes.push(format!("{field}: {before} -> {}", after.plain()));
            }
        }
        if updated.get("dependencies").is_some() {
            let before: BTreeSet<String> = row.list("dependencies").iter().map(Json::plain).collect();
            let after = body.get("dependencies").and_then(Value::as_array).into_iter().flatten();
            let after: BTreeSet<String> = after.filter_map(|name| name.as_str().map(str::to_owned)).collect();
            found.changes.extend(before.difference(&after).map(|name| format!("dependencies: - {name}")));
            found.changes.extend(after.difference(&before).map(|name| format!("dependencies: + {name}")));
        }
    }
    if let Some(scaled) = of_kind("ApplicationScaled") {
        let before = row.get("replicas").map(Json::plain).unwrap_or_default();
        let after = scaled.get("replicas").map(Json::plain).unwrap_or_default();
        found.changes.push(format!("replicas: {before} -> {after}"));
    }
    if found.changes.is_empty() && !events.is_empty() {
        found.changes.push(format!("{} events", events.len()));
    }
    found
}

/// A field of a row in the form it has in a specification.
fn part_of_row(row: &Json, field: &str) -> Json {
    let texts = |text: &str| {
        text.split(',').filter(|part| !part.is_empty()).map(|part| Json::Text(part.to_owned())).collect()
    };
    let value = match (field, row.get(field)) {
        ("exposed_ports", Some(Json::Text(text))) => Json::List(texts(text)),
        ("env_variables", Some(Json::Text(text))) => {
            Json::Object(of_row(text).into_iter().map(|(name, value)| (name, Json::Text(value))).collect())
        }
        // Rows have names and specifications ids; Compose files cannot set it.
        ("affinity", _) => Json::Null,
        (_, value) => value.cloned().unwrap_or(Json::Null),
    };
    normal(value)
}

fn part_of_spec(spec: &Json, field: &str) -> Json {
    match field {
        "affinity" => Json::Null,
        field => normal(spec.get(field).cloned().unwrap_or(Json::Null)),
    }
}

/// Normalizes a value for comparison: empty, false and absent are equal, and so are objects with reordered fields.
fn normal(value: Json) -> Json {
    match value {
        value if value.is_empty() => Json::Null,
        Json::Bool(false) => Json::Null,
        Json::Object(mut fields) => {
            fields.retain(|(_, value)| *value != Json::Null);
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Json::Object(fields)
        }
        value => value,
    }
}

/// The changes of a field, for people. Values of environment variables are not shown, because they may be secrets.
fn differences(field: &str, before: &Json, after: &Json) -> Vec<String> {
    let entries = |value: &Json| match value {
        Json::Object(fields) => Some(fields.clone()),
        Json::Null => Some(Vec::new()),
        _ => None,
    };
    let (Some(old), Some(new)) = (entries(before), entries(after)) else {
        return vec![format!("{field}: {} -> {}", before.plain(), after.plain())];
    };
    let is_secret = field == "env_variables";
    let old: BTreeMap<_, _> = old.into_iter().collect();
    let new: BTreeMap<_, _> = new.into_iter().collect();
    let mut lines = Vec::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        lines.push(match (old.get(name), new.get(name)) {
            (before, after) if before == after => continue,
            (None, Some(_)) if is_secret => format!("{field}: + {name}"),
            (Some(_), Some(_)) if is_secret => format!("{field}: {name} changes"),
            (None, Some(after)) => format!("{field}: + {name}={}", after.plain()),
            (Some(_), None) => format!("{field}: - {name}"),
            (before, after) => {
                let text = |value: Option<&Json>| value.map(Json::plain).unwrap_or_default();
                format!("{field}: {name} {} -> {}", text(before), text(after))
            }
        });
    }
    lines
}
