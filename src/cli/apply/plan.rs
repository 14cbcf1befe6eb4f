//! What has to be done so that the cluster is as a file says. The daemon itself says what would change: a dry run of each
//! edit, so that what it takes for the same is the same here.

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

/// The label by which applications know the stack that they were applied with.
pub(super) const STACK_LABEL: &str = "kdaemon.stack";

/// What is to be done with one application.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) application: String,
    pub(super) action: Action,
    /// Field by field, in words.
    changes: Vec<String>,
    /// All of its fields, as they are sent.
    #[serde(skip)]
    pub(super) body: Map<String, Value>,
    #[serde(skip)]
    pub(super) replicas: u32,
    /// The change that it is based on: an edit of anybody else in the meantime is not overwritten.
    #[serde(skip)]
    pub(super) seq: Option<u64>,
    /// Whether running containers are replaced.
    #[serde(skip)]
    pub(super) replaces: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Create,
    Change,
    Unchanged,
}

/// All that is to be done.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) stack: String,
    /// In the order in which it is done.
    pub(super) steps: Vec<Step>,
    /// Applications of the stack that the file does not have any more.
    pub(super) vanished: Vec<String>,
    /// Whether those are removed.
    pub(super) prune: bool,
    /// What the file says and kDaemon does not do.
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

    /// What the file says and kDaemon does not do, for people.
    pub(super) fn warnings(&self) -> String {
        if self.left_out.is_empty() {
            return String::new();
        }
        let mut text = "kDaemon does not do this part of the file:\n".to_owned();
        for line in &self.left_out {
            let _ = writeln!(text, "  {}", plain(line));
        }
        text
    }

    /// It for people.
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
                writeln!(text, "? {application} is not in the file any more; --prune removes it")
            };
        }
        text
    }
}

/// The stack that an application was applied with.
fn owner(row: &Json) -> Option<&str> {
    row.get("labels").and_then(|labels| labels.text(STACK_LABEL))
}

/// So that each stands before those that it depends on.
fn dependents_first(mut left: BTreeMap<String, Json>) -> Vec<String> {
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let needed: BTreeSet<String> =
            left.values().flat_map(|row| row.list("dependencies")).map(Json::plain).collect();
        // A circle cannot be: the daemon refuses it.
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
    // What is not there yet cannot be named in a dry run.
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
            "application `{name}` belongs to the stack `{other}`: rename the service, or take the label \
             {STACK_LABEL} away from it"
        )));
    }
    let request = Request::new(Method::PATCH, &["applications", "update", &name])?.body(Value::Object(tried));
    let answer = cx.client.ask(request.query("dry_run", "true")).await.map_err(named)?;
    let Changes { mut changes, replaces } = changes(row, answer.json.list("events"), &body);
    changes.extend(new_dependencies.iter().map(|other| format!("dependencies: + {other}")));
    let action = if changes.is_empty() { Action::Unchanged } else { Action::Change };
    Ok(Step { application: name, action, changes, body, replicas, seq: row.whole("seq"), replaces })
}

/// What a new application is, in a few lines.
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

/// What an edit changes.
struct Changes {
    changes: Vec<String>,
    replaces: bool,
}

/// The parts of a specification; whether containers have to be replaced for a new one.
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

/// Reads what the events of a dry run would change about a row, field by field.
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

/// A part of a row, in the form that it has in a specification.
fn part_of_row(row: &Json, field: &str) -> Json {
    let texts = |text: &str| {
        text.split(',').filter(|part| !part.is_empty()).map(|part| Json::Text(part.to_owned())).collect()
    };
    let value = match (field, row.get(field)) {
        ("exposed_ports", Some(Json::Text(text))) => Json::List(texts(text)),
        ("env_variables", Some(Json::Text(text))) => {
            Json::Object(of_row(text).into_iter().map(|(name, value)| (name, Json::Text(value))).collect())
        }
        // Names here, ids there: nothing that a file says.
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

/// What is empty, false or not there is all the same; the order of fields says nothing.
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

/// How a part differs, in words. Of variables the names alone are shown: their values may be secrets.
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
