//! Events as one line of text, as the tests of decisions expect them: `ContainerPlaced container=c generation=1 node=a
//! (0; b down)`. Ids are written as the names of what they belong to, times as the distance from now; an evaluation as the
//! chosen score and the verdicts on the other nodes, in parentheses.

#![allow(dead_code)] // the tests of the scheduler use a part of it

use chrono::{DateTime, Utc};
use kdaemon_events::scheduling::{
    Evaluation, NoNodeFits, NodeVerdict, Rejection, RejectionCounts, Score, Unschedulable, Verdict,
};
use kdaemon_events::{Envelope, Event};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

pub type Names = BTreeMap<Uuid, String>;

pub fn event(envelope: &Envelope, now: DateTime<Utc>, names: &Names) -> String {
    let Value::Object(data) = named(&envelope.event, names) else { panic!("data of an event is an object") };
    let mut text = envelope.event.kind().to_string();
    for (key, value) in data {
        let value = match (key.as_str(), &value) {
            ("evaluation", _) => continue,
            (key, Value::String(time)) if key.ends_with("_at") => {
                let at: DateTime<Utc> = time.parse().unwrap();
                format!("+{}ms", (at - now).num_milliseconds())
            }
            ("reason", _) if let Event::ContainerUnschedulable(e) = &envelope.event => match &e.reason {
                Unschedulable::NoNodeFits(nodes) => no_node_fits(nodes, names),
                _ => flat(&value),
            },
            _ => flat(&value),
        };
        text.push_str(&format!(" {}={value}", key.trim_end_matches("_id")));
    }
    match &envelope.event {
        Event::ContainerPlaced(e) => text += &format!(" ({})", evaluation(&e.evaluation, names)),
        Event::ContainerMigrationCommanded(e) => {
            let compared = e.evaluation.as_ref().map(|e| format!(" ({})", evaluation(e, names)));
            text += &compared.unwrap_or_default();
        }
        _ => {}
    }
    text
}

pub fn evaluation(e: &Evaluation, names: &Names) -> String {
    if e.holds_volumes {
        return "volumes".to_owned();
    }
    let mut text = score(&e.score);
    for NodeVerdict { node_id, verdict } in &e.others {
        let verdict = match verdict {
            Verdict::Fits(theirs) => score(theirs),
            Verdict::Rejected(rejection) => rejected(rejection, names),
        };
        text += &format!("; {} {verdict}", names[&node_id.0]);
    }
    text + &counts(&e.rejections)
}

fn score(score: &Score) -> String {
    let mut text = score.containers.to_string();
    if score.reserved_ppm > 0 {
        text += &format!(" {}ppm", score.reserved_ppm);
    }
    if let Some(preferences) = score.preferences {
        text += &format!(" {}/{}", preferences.satisfied, preferences.of);
    }
    if let Some(spread) = &score.spread {
        text += &format!(" {}:{}", spread.value.as_deref().unwrap_or("-"), spread.containers);
    }
    if let Some(penalty) = score.penalty {
        text += &format!(" {}", serde_json::to_value(penalty).unwrap().as_str().unwrap());
    }
    text
}

pub fn no_node_fits(nodes: &NoNodeFits, names: &Names) -> String {
    let each = nodes
        .rejected
        .iter()
        .map(|one| format!("{} {}", names[&one.node_id.0], rejected(&one.rejection, names)));
    let each: Vec<String> = each.collect();
    format!("no node fits of {}: {}{}", nodes.nodes, each.join("; "), counts(&nodes.rejections))
}

fn rejected(rejection: &Rejection, names: &Names) -> String {
    flat(&named(rejection, names))
}

fn counts(counts: &RejectionCounts) -> String {
    let each = counts
        .iter()
        .map(|(kind, count)| format!("; {count} {}", serde_json::to_value(kind).unwrap().as_str().unwrap()));
    each.collect()
}

fn named(value: &impl serde::Serialize, names: &Names) -> Value {
    let mut json = serde_json::to_string(value).unwrap();
    for (id, name) in names {
        json = json.replace(&id.to_string(), name);
    }
    serde_json::from_str(&json).unwrap()
}

/// `kind{field=value,…}` for an object with a kind.
fn flat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) if fields.contains_key("kind") => {
            let each = fields.iter().filter(|(key, _)| *key != "kind");
            let each: Vec<_> =
                each.map(|(key, value)| format!("{}={}", key.trim_end_matches("_id"), flat(value))).collect();
            let kind = fields["kind"].as_str().unwrap();
            if each.is_empty() { kind.to_owned() } else { format!("{kind}{{{}}}", each.join(",")) }
        }
        other => other.to_string(),
    }
}
