//! The plan of `kdaemon apply`: the steps that bring the cluster in line with a file. A dry run of each edit tells what
//! would change, so that the daemon alone decides which values are equal.

use super::compose::Stack;
use super::service::Service;
use super::spec::spec_changes;
use crate::cli::CliContext;
use crate::cli::applications::dependents_first;
use crate::cli::client::ApiRequest;
use crate::cli::error::CliError;
use crate::cli::event::recorded;
use crate::cli::json::Json;
use crate::cli::table::{plain, word};
use http::Method;
use kdaemon_api::{ApplicationRow, DryRun, EventRow};
use kdaemon_events::Event;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The label with the name of the stack that an application belongs to.
pub(super) const STACK_LABEL: &str = "kdaemon.stack";

/// The step for one application.
#[derive(Debug, Serialize)]
pub(super) struct ApplyStep {
    pub(super) application: String,
    pub(super) action: StepKind,
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
    /// `true` if running containers are replaced.
    #[serde(skip)]
    pub(super) replaces: bool,
}

/// The kind of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum StepKind {
    Create,
    Change,
    Unchanged,
}

/// The steps for a whole file.
#[derive(Debug, Serialize)]
pub(super) struct ApplyPlan {
    pub(super) stack: String,
    /// Steps in the order of execution.
    pub(super) steps: Vec<ApplyStep>,
    /// Applications of the stack that are no longer in the file.
    pub(super) vanished: Vec<String>,
    /// `true` if vanished applications are removed.
    pub(super) prune: bool,
    /// Unsupported parts of the file, with lines.
    left_out: Vec<String>,
}

impl ApplyPlan {
    /// Compares a stack with the cluster.
    pub(super) async fn make(
        cx: &CliContext,
        name: &str,
        stack: Stack,
        prune: bool,
    ) -> Result<Self, CliError> {
        let mut existing: BTreeMap<String, ApplicationRow> = BTreeMap::new();
        let mut of_stack: BTreeMap<String, ApplicationRow> = BTreeMap::new();
        let wanted: BTreeSet<String> = stack.services.iter().map(|service| service.name.clone()).collect();
        cx.client
            .list(ApiRequest::get(&["applications"])?, |row: ApplicationRow, _| {
                if wanted.contains(&row.name) {
                    existing.insert(row.name.clone(), row);
                } else if owner(&row) == Some(name) {
                    of_stack.insert(row.name.clone(), row);
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
        let vanished = dependents_first(of_stack.into_iter().map(|(name, row)| (name, Some(row))).collect());
        Ok(Self { stack: name.to_owned(), steps, vanished, prune, left_out })
    }

    /// `true` if there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.action == StepKind::Unchanged) && !self.removes()
    }

    /// `true` if something is removed.
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
                StepKind::Create => ("+", "create"),
                StepKind::Change => ("~", "change"),
                StepKind::Unchanged => ("=", "unchanged"),
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
fn owner(row: &ApplicationRow) -> Option<&str> {
    row.labels.get(STACK_LABEL).map(String::as_str)
}

async fn step(
    cx: &CliContext,
    stack: &str,
    service: Service,
    existing: &BTreeMap<String, ApplicationRow>,
) -> Result<ApplyStep, CliError> {
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
    let named = |failure: CliError| match failure {
        CliError::Refused(problem) => CliError::Invalid(format!("service `{name}`: {problem}")),
        failure => failure,
    };
    let Some(row) = existing.get(&name) else {
        tried.insert("name".to_owned(), json!(name));
        let request = ApiRequest::new(Method::POST, &["applications", "create"])?.body(Value::Object(tried));
        cx.client.ask(request.query("dry_run", "true")).await.map_err(named)?;
        let changes = summary(&body);
        body.insert("name".to_owned(), json!(name));
        let action = StepKind::Create;
        return Ok(ApplyStep {
            application: name,
            action,
            changes,
            body,
            replicas,
            seq: None,
            replaces: false,
        });
    };
    if let Some(other) = owner(row).filter(|other| *other != stack) {
        return Err(CliError::Invalid(format!(
            "application `{name}` belongs to the stack `{other}`; rename the service, or remove the label \
             {STACK_LABEL} from the application"
        )));
    }
    let request =
        ApiRequest::new(Method::PATCH, &["applications", "update", &name])?.body(Value::Object(tried));
    let DryRun { events, .. }: DryRun =
        cx.client.typed(request.query("dry_run", "true")).await.map_err(named)?;
    let EditEffect { mut changes, replaces } = effect(row, &events, &body)?;
    changes.extend(new_dependencies.iter().map(|other| format!("dependencies: + {other}")));
    let action = if changes.is_empty() { StepKind::Unchanged } else { StepKind::Change };
    Ok(ApplyStep { application: name, action, changes, body, replicas, seq: Some(row.seq), replaces })
}

/// The main fields of a new application, one per line.
fn summary(body: &Map<String, Value>) -> Vec<String> {
    let mut lines = Vec::new();
    for field in
        ["docker_image", "replicas", "exposed_ports", "volumes", "networks", "constraints", "dependencies"]
    {
        let value = body.get(field).filter(|value| !value.as_array().is_some_and(Vec::is_empty));
        if let Some(value) = value {
            lines.push(format!("{field}: {}", Json::of(value).plain()));
        }
    }
    lines
}

/// The effect of an edit.
#[derive(Debug, Default)]
struct EditEffect {
    /// The changes of each field, for people.
    changes: Vec<String>,
    /// `true` if running containers are replaced.
    replaces: bool,
}

/// Compares a row with the events of a dry run, field by field.
fn effect(
    row: &ApplicationRow,
    events: &[EventRow],
    body: &Map<String, Value>,
) -> Result<EditEffect, CliError> {
    let mut found = EditEffect::default();
    for event in events {
        match recorded(event) {
            Some(Event::ApplicationUpdated(updated)) => {
                if let Some(spec) = updated.spec {
                    let before = row.spec(spec.affinity.clone()).map_err(CliError::unexpected)?;
                    found.changes.extend(spec_changes(&before, &spec));
                    found.replaces |= !before.makes_the_same_as(&spec);
                }
                if let Some(after) = updated.is_enabled {
                    found.changes.push(format!("is_enabled: {} -> {after}", row.is_enabled));
                }
                if let Some(after) = updated.update_policy {
                    let (before, after) = (word(row.update_policy), word(after));
                    found.changes.push(format!("update_policy: {before} -> {after}"));
                }
                if updated.dependencies.is_some() {
                    let before: BTreeSet<&str> = row.dependencies.iter().map(String::as_str).collect();
                    let after = body.get("dependencies").and_then(Value::as_array).into_iter().flatten();
                    let after: BTreeSet<&str> = after.filter_map(Value::as_str).collect();
                    let lines = |sign: char, names: Vec<&&str>| {
                        let line = move |name| format!("dependencies: {sign} {name}");
                        names.into_iter().map(line).collect::<Vec<_>>()
                    };
                    found.changes.extend(lines('-', before.difference(&after).collect()));
                    found.changes.extend(lines('+', after.difference(&before).collect()));
                }
            }
            Some(Event::ApplicationScaled(scaled)) => {
                let text =
                    |replicas: Option<u32>| replicas.map_or("-".to_owned(), |replicas| replicas.to_string());
                found.changes.push(format!("replicas: {} -> {}", text(row.replicas), text(scaled.replicas)));
            }
            _ => {}
        }
    }
    if found.changes.is_empty() && !events.is_empty() {
        found.changes.push(format!("{} events", events.len()));
    }
    Ok(found)
}
