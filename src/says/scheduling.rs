//! Decisions of the scheduler: scores, rejections and unschedulable containers.

use super::names::Names;
use super::{counted, listed};
use kdaemon_events::Strategy;
use kdaemon_events::container::MigrationReason;
use kdaemon_events::scheduling::{
    Evaluation, NoNodeFits, NodeRejection, NodeVerdict, Penalty, Rejection, RejectionCounts, RejectionKind,
    Score, Unschedulable, Verdict,
};

/// The tense of a clause: about the present, or about the time of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tense {
    /// "is cordoned"
    Present,
    /// "was cordoned"
    Past,
}

/// Renders a rejection as a clause that follows the node's name: "is cordoned".
#[must_use]
pub fn rejection(names: Names<'_>, rejection: &Rejection, tense: Tense) -> String {
    let (is, has, does, runs) = match tense {
        Tense::Present => ("is", "has", "does", "runs"),
        Tense::Past => ("was", "had", "did", "ran"),
    };
    match rejection {
        Rejection::NotProbed => format!("{has} not been probed yet"),
        Rejection::Down => format!("{is} DOWN"),
        Rejection::Cordoned => format!("{is} cordoned"),
        Rejection::Draining => format!("{is} draining"),
        Rejection::Leaving => format!("{is} the node that it leaves"),
        Rejection::VolumesElsewhere { node_id, volume } => {
            format!("{does} not have its {}, which {is} on {}", data(volume), names.node(*node_id))
        }
        Rejection::Constraint { constraint } => format!("{does} not satisfy the constraint {constraint}"),
        Rejection::Full { capacity } => format!("{is} full (capacity {capacity})"),
        Rejection::PortTaken { port, protocol, container_id } => {
            format!("{has} port {port}/{protocol} taken by {}", names.container(*container_id))
        }
        Rejection::Cpus { wanted_millicpus, free_millicpus } => format!(
            "{has} {} CPUs left to reserve ({} wanted)",
            thousandths(*free_millicpus),
            thousandths(*wanted_millicpus)
        ),
        Rejection::CpuLimit { limit_millicpus, engine_millicpus } => format!(
            "{has} {} CPUs, fewer than the limit of {}",
            thousandths(*engine_millicpus),
            thousandths(*limit_millicpus)
        ),
        Rejection::Memory { wanted_bytes, free_bytes } => {
            format!("{has} {free_bytes} bytes of memory left to reserve ({wanted_bytes} wanted)")
        }
        Rejection::AntiAffinity => format!("already {runs} a container of this application"),
        Rejection::Affinity { application_id } => {
            format!("{runs} no container of application {}", names.application(*application_id))
        }
    }
}

/// Names a volume, or a path of a node.
pub(super) fn data(source: &str) -> String {
    let is_anonymous = source.len() == 64 && source.bytes().all(|b| b.is_ascii_hexdigit());
    match source {
        path if path.starts_with('/') => format!("data in {path}"),
        name if is_anonymous => format!("anonymous volume {}", &name[..12]),
        name => format!("volume {name}"),
    }
}

/// Renders the verdict on a node as a clause that follows the node's name.
pub(super) fn verdict(names: Names<'_>, verdict: &Verdict, strategy: Strategy, tense: Tense) -> String {
    match (verdict, tense) {
        (Verdict::Fits(theirs), Tense::Present) => format!("has {}", score(theirs, strategy)),
        (Verdict::Fits(theirs), Tense::Past) => format!("had {}", score(theirs, strategy)),
        (Verdict::Rejected(reason), tense) => rejection(names, reason, tense),
    }
}

/// Formats thousandths as a decimal number: `1.5`, `2`.
fn thousandths(value: u64) -> String {
    let (whole, rest) = (value / 1_000, value % 1_000);
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}").trim_end_matches('0').to_owned() }
}

/// Formats parts per million as a percentage: `10.0 %`.
fn percent(ppm: u32) -> String {
    format!("{}.{} %", ppm / 10_000, ppm / 1_000 % 10)
}

/// Renders the kind of rejection of several nodes, to follow their number: "3 cordoned".
fn rejected_kind(kind: RejectionKind) -> &'static str {
    match kind {
        RejectionKind::NotProbed => "not probed yet",
        RejectionKind::Down => "DOWN",
        RejectionKind::Cordoned => "cordoned",
        RejectionKind::Draining => "draining",
        RejectionKind::Leaving => "that it leaves",
        RejectionKind::VolumesElsewhere => "without its volumes",
        RejectionKind::Constraint => "that do not satisfy a constraint",
        RejectionKind::Full => "full",
        RejectionKind::PortTaken => "with a port taken",
        RejectionKind::Cpus => "with too few CPUs left",
        RejectionKind::CpuLimit => "with fewer CPUs than the limit",
        RejectionKind::Memory => "with too little memory left",
        RejectionKind::AntiAffinity => "that already run a container of this application",
        RejectionKind::Affinity => "that run no container of an application it requires",
    }
}

fn counts(rejections: &RejectionCounts) -> Vec<String> {
    rejections.iter().map(|(kind, count)| format!("{count} {}", rejected_kind(*kind))).collect()
}

/// Renders a score: "4 containers, 1 of 2 preferences".
fn score(score: &Score, strategy: Strategy) -> String {
    let mut parts = vec![counted(score.containers, "container")];
    if strategy != Strategy::Spread {
        parts.push(format!("{} reserved", percent(score.reserved_ppm)));
    }
    if let Some(preferences) = score.preferences {
        parts.push(format!("{} of {} preferences", preferences.satisfied, preferences.of));
    }
    if let Some(spread) = &score.spread {
        parts.push(match &spread.value {
            Some(value) => format!("{} of its application in {value}", spread.containers),
            None => "without the label that its application is spread over".to_owned(),
        });
    }
    parts.extend(score.penalty.map(|mark| penalty(mark).to_owned()));
    parts.join(", ")
}

fn penalty(mark: Penalty) -> &'static str {
    match mark {
        Penalty::Probation => "on probation after repeated failures",
        Penalty::LaunchFailed => "a launch of the application failed there recently",
    }
}

/// Whether the strategy alone decided, without preferences or spreading.
fn is_plain(score: &Score) -> bool {
    score.preferences.is_none() && score.spread.is_none()
}

/// Renders the choice of a node: "node-b was chosen with 4 containers, the fewest of 12 eligible nodes". `annotate`
/// returns text to append to the verdict on another node, such as the event that took the node out of placement.
pub(super) fn chosen(
    names: Names<'_>,
    node: &str,
    event: &str,
    evaluation: &Evaluation,
    annotate: impl Fn(&NodeVerdict) -> String,
) -> String {
    let Evaluation { strategy, holds_volumes, score: own, eligible, others, rejections } = evaluation;
    if *holds_volumes {
        return format!("{node} was chosen{event}: it holds the container's volumes");
    }
    let mut text = format!("{node} was chosen{event} with {}", score(own, *strategy));
    let superlative = match strategy {
        _ if !is_plain(own) || own.penalty.is_some() => "",
        Strategy::Spread => "the fewest",
        Strategy::Resources => "the smallest reserved share",
        Strategy::Binpack => "the largest reserved share with room",
    };
    if others.is_empty() && *eligible > 1 && !superlative.is_empty() {
        text += &format!(", {superlative} of {eligible} eligible nodes");
    }
    for other in others {
        let clause = verdict(names, &other.verdict, *strategy, Tense::Past);
        text += &format!("; {} {clause}{}", names.node(other.node_id), annotate(other));
    }
    if !rejections.is_empty() {
        text += &format!("; of further nodes {} were rejected", listed(&counts(rejections)));
    }
    text
}

/// Renders the rejections of all nodes as a clause: "no node fits: node-a is DOWN; node-d is cordoned".
#[must_use]
pub fn no_node_fits(names: Names<'_>, nodes: &NoNodeFits) -> String {
    if nodes.nodes == 0 {
        return "no node fits: none is mounted".to_owned();
    }
    let each = nodes.rejected.iter().map(|NodeRejection { node_id, rejection: reason }| {
        format!("{} {}", names.node(*node_id), rejection(names, reason, Tense::Present))
    });
    let mut each: Vec<String> = each.collect();
    if !nodes.rejections.is_empty() {
        let further: u32 = nodes.rejections.values().sum();
        each.push(format!("of {} {}", counted(further, "further node"), listed(&counts(&nodes.rejections))));
    }
    format!("no node fits: {}", each.join("; "))
}

/// Renders the reason of an unschedulable container as a clause.
pub(super) fn unschedulable(
    names: Names<'_>,
    moving: Option<MigrationReason>,
    reason: &Unschedulable,
) -> String {
    let because = match reason {
        Unschedulable::ApplicationDisabled => "its application is disabled".to_owned(),
        Unschedulable::Dependency { application_id } => {
            format!("waiting for application `{}` (no container UP)", names.application(*application_id))
        }
        Unschedulable::NoNodeFits(nodes) => no_node_fits(names, nodes),
    };
    match moving {
        Some(MigrationReason::Unhealthy) => format!("its node is unhealthy and {because}"),
        Some(MigrationReason::Drain) => format!("its node is draining and {because}"),
        Some(MigrationReason::Update) => format!("its application has changed and {because}"),
        Some(MigrationReason::Balance) | None => because,
    }
}
