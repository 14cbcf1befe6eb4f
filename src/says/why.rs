//! Explanations of a state: one sentence on the state, then one on each of its causes.

use super::events::{ended, event, uneven};
use super::failures::{failure, probe_failure};
use super::names::{Names, actor};
use super::reasons::pause;
use super::scheduling::{Tense, chosen, unschedulable, verdict};
use super::{counted, time};
use kdaemon_control::history::{About, Inquiry, PROBES_LIMIT, Want, out_of_placement};
use kdaemon_events::container::{ContainerMigrationCommanded, MigrationReason};
use kdaemon_events::node::{Availability, NodeUnhealthy, ProbeOutcome};
use kdaemon_events::scheduling::{Evaluation, NodeVerdict, VERDICTS_LIMIT, Verdict};
use kdaemon_events::{Envelope, Event, NodeId, Seq};
use kdaemon_projections::{Cluster, Container, Desired, Health, Node, PhaseKind, Status};

/// Explains the state of a node or a container, one sentence per entry.
#[must_use]
pub fn why(inquiry: &Inquiry) -> Vec<String> {
    let states = [inquiry.cluster()];
    let explanation = Explanation { inquiry, names: Names::of(&states), cluster: inquiry.cluster() };
    match inquiry.about() {
        About::Node(node) => explanation.node(node),
        About::Container(container) => explanation.container(container),
    }
}

struct Explanation<'a> {
    inquiry: &'a Inquiry,
    names: Names<'a>,
    cluster: &'a Cluster,
}

/// The sentences on one event of the causal chain.
struct ChainPart {
    sentences: Vec<String>,
    /// The next event of the chain.
    next: Option<Seq>,
}

impl Explanation<'_> {
    // ---- a container --------------------------------------------------------------------------------------------

    fn container(&self, container: &Container) -> Vec<String> {
        let mut sentences = vec![self.state_of_container(container)];
        let stop =
            self.inquiry.event(container.seq).filter(|e| matches!(e.event, Event::ContainerStopped(_)));
        if let Some(stop) = stop.filter(|stop| stop.cause.is_none_or(|cause| cause != container.cause)) {
            sentences.push(format!("It was stopped (event {}).", stop.seq));
        }
        if let Some(paused) = self.cluster.paused().filter(|_| container.lost) {
            sentences.push(format!("Migrations are paused (event {}): {}.", paused.seq, pause(paused)));
        }
        let mut next = self.inquiry.event(container.cause);
        let mut waited = false;
        while let Some(envelope) = next {
            let part = self.part(container, envelope, &mut waited);
            sentences.extend(part.sentences);
            next = part.next.and_then(|seq| self.inquiry.event(seq)).filter(|cause| cause.seq < envelope.seq);
        }
        if container.phase.kind() == PhaseKind::Waiting && container.desired == Desired::Running {
            sentences.extend(self.why_not_placed(container));
        }
        sentences
    }

    fn state_of_container(&self, container: &Container) -> String {
        let name = &container.name;
        let status = container.status();
        let on = |id: NodeId| self.names.node(id);
        let changed = self.inquiry.event(container.cause).map(|envelope| time(envelope.at));
        let since = changed.map(|at| format!(" since {at}")).unwrap_or_default();
        match (status, container.placement.as_ref()) {
            (Status::Up, Some(wanted)) if container.is_served_by_predecessor() => {
                let serving = container.serving().unwrap_or(wanted);
                format!(
                    "{name} is UP on {} (generation {}) until generation {} is UP on {}.",
                    on(serving.node_id),
                    serving.generation,
                    wanted.generation,
                    on(wanted.node_id)
                )
            }
            (Status::Up, Some(placement)) => {
                let since = container.up_since().map(|at| format!(" since {}", time(at))).unwrap_or(since);
                format!(
                    "{name} is UP on {}{since} (generation {}).",
                    on(placement.node_id),
                    placement.generation
                )
            }
            (Status::Launching | Status::Stopping | Status::Lost, Some(placement)) => format!(
                "{name} is {} on {}{since} (generation {}).",
                status.as_str(),
                on(placement.node_id),
                placement.generation
            ),
            (Status::Down, _) => {
                let end = self.inquiry.event(container.seq);
                let stop = end.filter(|e| matches!(e.event, Event::ContainerStopped(_)));
                let since = stop.map(|stop| format!(" since {}", time(stop.at))).unwrap_or(since);
                format!("{name} is DOWN{since}.")
            }
            _ => format!("{name} is {}{since}.", status.as_str()),
        }
    }

    /// The sentences on one event of the chain, and the event to continue with.
    fn part(&self, container: &Container, envelope: &Envelope, waited: &mut bool) -> ChainPart {
        let seq = envelope.seq;
        let by = actor(&envelope.actor);
        let node = |id| self.names.node(id);
        let is_head = seq == container.cause;
        let continued = |sentences: Vec<String>| ChainPart { sentences, next: envelope.cause };
        let one = |sentence: String| continued(vec![sentence]);
        // A cause that can be a clause becomes part of the sentence.
        let because = |text: &str| match self.clause(envelope.cause) {
            Some(clause) => ChainPart {
                sentences: vec![format!("{text} (event {seq}) because {clause}.")],
                next: self.after_clause(envelope.cause),
            },
            None => one(format!("{text} by {by} (event {seq}).")),
        };
        match &envelope.event {
            // Already in the sentence on the state.
            Event::ContainerReady(_) | Event::ContainerHealthy(_)
                if is_head && container.status() == Status::Up =>
            {
                continued(Vec::new())
            }
            Event::ContainerLaunched(e)
                if container.status() == Status::Up
                    && container.placement.as_ref().is_some_and(|p| p.generation == e.generation) =>
            {
                continued(Vec::new())
            }
            Event::ContainerLaunched(e) => {
                one(format!("It was launched on {} (event {seq}).", node(e.node_id)))
            }
            Event::ContainerMigrationCommanded(e) => {
                let mut sentences = vec![self.moved(e, envelope)];
                if let Some(evaluation) = &e.evaluation {
                    sentences.push(self.chosen(e.node_id, evaluation, seq, ""));
                }
                ChainPart { sentences, next: self.after_clause(envelope.cause) }
            }
            Event::ContainerPlaced(e) => {
                one(self.chosen(e.node_id, &e.evaluation, seq, &format!(" (event {seq})")))
            }
            Event::ContainerLaunchRequested(_) => because("Its launch was requested"),
            Event::ContainerCreated(_) => because("It was created"),
            Event::ContainerUnschedulable(e) => match std::mem::replace(waited, true) {
                // Only the latest reason applies.
                true => continued(Vec::new()),
                false => {
                    let verb = if container.phase.kind() == PhaseKind::Waiting || container.lost {
                        "waits"
                    } else {
                        "waited"
                    };
                    one(format!(
                        "It {verb} (event {seq}): {}.",
                        unschedulable(self.names, e.moving, &e.reason)
                    ))
                }
            },
            Event::ContainerLaunchFailed(e) => one(format!(
                "Launch attempt {} on {} failed (event {seq}: {}); the next was due at {}.",
                e.attempt,
                node(e.node_id),
                failure(&e.failure),
                time(e.retry_at)
            )),
            Event::ContainerLaunchAbandoned(e) => one(format!(
                "Launch attempt {} on {} failed (event {seq}: {}), so it counts as failed; the next was due at {}.",
                e.attempt,
                node(e.node_id),
                failure(&e.failure),
                time(e.retry_at)
            )),
            Event::ContainerExited(e) => {
                let next = match e.restart_at {
                    Some(at) => format!("its restart policy restarts it at {}", time(at)),
                    None => "its restart policy does not restart it".to_owned(),
                };
                one(format!("Its process on {} ended (event {seq}: {}); {next}.", node(e.node_id), ended(e)))
            }
            Event::ContainerUnhealthy(e) => one(match e.restart_at {
                Some(at) => format!("It failed its health check (event {seq}) and restarts at {}.", time(at)),
                None => format!(
                    "It failed its health check (event {seq}); its restart policy does not restart it."
                ),
            }),
            Event::ContainerStopRequested(e) => {
                let what = if e.then_delete { "deletion" } else { "stop" };
                one(format!("Its {what} was requested by {by} (event {seq})."))
            }
            Event::NodeUnhealthy(e) => {
                let sentence = format!("{} {}.", node(e.node_id), self.judged(e, envelope));
                ChainPart { sentences: vec![sentence], next: None }
            }
            Event::NodeObserved(_) => continued(Vec::new()),
            _ => one(self.cited(envelope)),
        }
    }

    /// The sentence on an event, with its seq.
    fn cited(&self, envelope: &Envelope) -> String {
        let mut sentence = event(self.names, envelope);
        sentence.pop(); // the full stop
        format!("{sentence} (event {}).", envelope.seq)
    }

    fn moved(&self, e: &ContainerMigrationCommanded, envelope: &Envelope) -> String {
        let by = actor(&envelope.actor);
        let (from, to) = (self.names.node(e.from_node_id), self.names.node(e.node_id));
        let seq = envelope.seq;
        let clause = self.clause(envelope.cause);
        match e.reason {
            MigrationReason::Unhealthy => {
                let because = clause.unwrap_or_else(|| format!("{from} was unhealthy"));
                format!("It was moved by {by} (event {seq}) because {because}.")
            }
            MigrationReason::Drain => {
                let because = clause.unwrap_or_else(|| format!("{from} was draining"));
                format!("It was moved by {by} (event {seq}) because {because}.")
            }
            MigrationReason::Balance => {
                let because = clause.unwrap_or_else(|| "containers were unevenly distributed".to_owned());
                format!("It was moved from {from} to {to} by {by} (event {seq}) because {because}.")
            }
            MigrationReason::Update => {
                let because = clause.unwrap_or_else(|| "its application had changed".to_owned());
                format!("It was replaced by {by} (event {seq}) because {because}.")
            }
        }
    }

    /// Renders a cause as a clause; `None` for a cause that has a sentence of its own.
    fn clause(&self, cause: Option<Seq>) -> Option<String> {
        let envelope = self.inquiry.event(cause?)?;
        let by = actor(&envelope.actor);
        let seq = envelope.seq;
        let node = |id| self.names.node(id);
        let application = |id| self.names.application(id);
        match &envelope.event {
            Event::NodeUnhealthy(e) => Some(format!("{} {}", node(e.node_id), self.judged(e, envelope))),
            Event::NodeDrainStarted(e) => Some(format!("{by} drained {} (event {seq})", node(e.node_id))),
            Event::RebalancePlanned(e) => Some(format!(
                "containers were unevenly distributed (event {seq}: {})",
                uneven(e.most, e.fewest)
            )),
            Event::ApplicationUpdated(e) => {
                Some(format!("{by} edited application {} (event {seq})", application(e.application_id)))
            }
            Event::ApplicationCreated(e) => {
                let many = e.replicas.map(|n| format!(" with {}", counted(n, "replica"))).unwrap_or_default();
                Some(format!("{by} created application {}{many} (event {seq})", e.name))
            }
            Event::ApplicationScaled(e) => {
                let to = e.replicas.map(|n| format!(" to {}", counted(n, "replica"))).unwrap_or_default();
                Some(format!("{by} scaled application {}{to} (event {seq})", application(e.application_id)))
            }
            _ => None,
        }
    }

    /// The next event of the chain after a cause that was rendered as a clause. The chain ends at the judgement of a
    /// node, whose clause includes the probes.
    fn after_clause(&self, cause: Option<Seq>) -> Option<Seq> {
        let envelope = self.inquiry.event(cause?)?;
        match &envelope.event {
            Event::NodeUnhealthy(_) => None,
            _ if self.clause(cause).is_some() => envelope.cause,
            _ => cause,
        }
    }

    /// Renders a node's judgement as a clause: "was judged unhealthy (event 811) after 3 failed probes (events 807,
    /// 809, 810: connection refused)"
    fn judged(&self, e: &NodeUnhealthy, envelope: &Envelope) -> String {
        let count = e.failures.min(PROBES_LIMIT);
        let want = Want::FailedProbes { node: e.node_id, until: envelope.seq, count };
        let found: Vec<&Envelope> = self.inquiry.found(&want).collect();
        let mut failures: Vec<String> = Vec::new();
        for probe in &found {
            if let Event::NodeObserved(observed) = &probe.event
                && let ProbeOutcome::Failed { failure } = &observed.outcome
            {
                let clause = probe_failure(self.names, failure);
                if !failures.contains(&clause) {
                    failures.push(clause);
                }
            }
        }
        if failures.is_empty() {
            failures.push(probe_failure(self.names, &e.failure)); // the probes themselves were pruned
        }
        let seqs: Vec<String> = found.iter().map(|probe| probe.seq.to_string()).collect();
        let seqs = match seqs.len() {
            0 => String::new(),
            1 => format!("event {}: ", seqs.concat()),
            _ => format!("events {}: ", seqs.join(", ")),
        };
        format!(
            "was judged unhealthy (event {}) after {} ({seqs}{})",
            envelope.seq,
            counted(e.failures, "failed probe"),
            failures.join("; ")
        )
    }

    /// Renders the choice of a node with citations: "node-b was chosen with 4 containers; node-c had 6 containers;
    /// node-d was cordoned (by alice, event 640)."
    fn chosen(&self, node: NodeId, evaluation: &Evaluation, seq: Seq, cited: &str) -> String {
        let annotate = |other: &NodeVerdict| self.out_of_placement(other, seq);
        format!("{}.", chosen(self.names, &self.names.node(node), cited, evaluation, annotate))
    }

    /// The actor and event that took a rejected node out of placement: " (by alice, event 640)".
    fn out_of_placement(&self, other: &NodeVerdict, until: Seq) -> String {
        let Verdict::Rejected(rejection) = &other.verdict else { return String::new() };
        let want = out_of_placement(other.node_id, rejection, until);
        let found = want.and_then(|want| self.inquiry.found(&want).next_back());
        found.map_or_else(String::new, |envelope| {
            format!(" (by {}, event {})", actor(&envelope.actor), envelope.seq)
        })
    }

    /// The present reasons why a waiting container is not placed, node by node.
    fn why_not_placed(&self, container: &Container) -> Vec<String> {
        let application = container.application_id.and_then(|id| self.cluster.application(id));
        let Some(application) = application else { return vec!["It has no application.".to_owned()] };
        if !application.is_enabled {
            return vec![format!("Its application {} is disabled.", application.name)];
        }
        if let Some(dependency) = self.cluster.unmet_dependency(application) {
            return vec![format!(
                "No container of application {} is UP.",
                self.names.application(dependency)
            )];
        }
        let mut sentences = Vec::new();
        if let Some(at) = container.not_before() {
            sentences.push(format!("The next launch attempt is at {}.", time(at)));
        }
        let verdicts = self.inquiry.verdicts(container);
        if verdicts.is_empty() {
            sentences.push("No node is mounted.".to_owned());
        }
        for one in verdicts.iter().take(VERDICTS_LIMIT) {
            sentences.push(self.verdict_now(container, one));
        }
        if verdicts.len() > VERDICTS_LIMIT {
            sentences.push(format!("The other {} nodes do not fit either.", verdicts.len() - VERDICTS_LIMIT));
        }
        sentences
    }

    fn verdict_now(&self, container: &Container, one: &NodeVerdict) -> String {
        let name = self.names.node(one.node_id);
        let strategy = self.cluster.spec_of(container).strategy.unwrap_or_else(|| self.inquiry.strategy());
        let clause = verdict(self.names, &one.verdict, strategy, Tense::Present);
        let down = self.cluster.node(one.node_id).filter(|node| node.health == Health::Down);
        match down.and_then(|node| Some((node.unhealthy_seq?, node.failure.as_ref()?))) {
            Some((seq, failure)) => {
                format!("{name} {clause} (event {seq}: {}).", probe_failure(self.names, failure))
            }
            None => format!("{name} {clause}{}.", self.out_of_placement(one, self.cluster.seq())),
        }
    }

    // ---- a node -------------------------------------------------------------------------------------------------

    fn node(&self, node: &Node) -> Vec<String> {
        let mut heads = self.inquiry.heads();
        let health = heads.next().flatten();
        let availability = heads.next().flatten();
        let since = health.map(|envelope| format!(" since {}", time(envelope.at))).unwrap_or_default();
        let placement = match node.availability {
            Availability::Active => "",
            Availability::Cordoned => " and cordoned",
            Availability::Draining => " and draining",
        };
        let mut sentences = vec![format!("{} is {}{since}{placement}.", node.name, node.health.as_str())];
        if let Some(envelope) = health {
            let seq = envelope.seq;
            sentences.push(match &envelope.event {
                Event::NodeUnhealthy(e) => format!("It {}.", self.judged(e, envelope)),
                Event::NodeHealthy(e) => {
                    let probes = counted(e.successes, "successful probe");
                    format!("It was judged healthy (event {seq}) after {probes}.")
                }
                Event::NodeMounted(_) => {
                    let by = actor(&envelope.actor);
                    format!("It was mounted by {by} (event {seq}) and has not been probed yet.")
                }
                _ => event(self.names, envelope),
            });
        }
        if let Some(envelope) = availability {
            let (by, seq) = (actor(&envelope.actor), envelope.seq);
            sentences.push(match (&envelope.event, node.drained) {
                (Event::NodeDrainStarted(_), true) => format!("It was drained by {by} (event {seq})."),
                (Event::NodeDrainStarted(_), false) => {
                    format!("Draining was requested by {by} (event {seq}) and is not finished.")
                }
                _ => format!("It was cordoned by {by} (event {seq})."),
            });
        }
        let has = counted(node.container_count(), "container");
        sentences.push(match (node.capacity, node.is_on_probation(self.cluster.at())) {
            (_, true) => {
                format!("It has {has}. It keeps failing and coming back, so other nodes are preferred for a while.")
            }
            (Some(capacity), false) => format!("It has {has} (capacity {capacity})."),
            (None, false) => format!("It has {has}."),
        });
        sentences
    }
}
