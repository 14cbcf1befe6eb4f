//! The answer in words: the state first, then what led to it, one sentence after another.

use super::words::{NAMED, counted, ended, time};
use super::{Inquiry, Want, names};
use kdaemon_events::container::{ContainerMigrationCommanded, MigrationReason};
use kdaemon_events::node::{Availability, NodeUnhealthy, ProbeOutcome};
use kdaemon_events::{Envelope, Event, NodeId, Seq};
use kdaemon_projections::{Container, Desired, Health, Node, Phase, Status};

impl Inquiry {
    // ---- a container --------------------------------------------------------------------------------------------

    pub(super) fn sentences_about_container(&self, container: &Container) -> Vec<String> {
        let mut sentences = vec![self.state_of_container(container)];
        let stop = self.events.get(&container.seq).filter(|e| matches!(e.event, Event::ContainerStopped(_)));
        if let Some(stop) = stop.filter(|stop| stop.cause.is_none_or(|cause| cause != container.cause)) {
            sentences.push(format!("It was stopped (event {}).", stop.seq));
        }
        let head = self.events.get(&container.cause);
        if container.lost
            && let Some(paused) = self.cluster.paused()
        {
            sentences.push(format!("Nothing is moved at present (event {}): {}.", paused.seq, paused.reason));
        }
        let mut next = head;
        let mut waited = false;
        while let Some(envelope) = next {
            let (told, answered) = self.tell_event(container, envelope, &mut waited);
            sentences.extend(told);
            next = answered.and_then(|seq| self.events.get(&seq)).filter(|cause| cause.seq < envelope.seq);
        }
        if container.phase == Phase::Waiting && container.desired == Desired::Running {
            sentences.extend(self.why_not_placed(container));
        }
        sentences
    }

    fn state_of_container(&self, container: &Container) -> String {
        let name = &container.name;
        let status = container.status();
        let on = |id: NodeId| names::node(&self.cluster, id);
        let changed = self.events.get(&container.cause).map(|envelope| time(envelope.at));
        let since = changed.map(|at| format!(" since {at}")).unwrap_or_default();
        let here = container.placement.as_ref();
        let words = status.as_str();
        match (status, here) {
            (Status::Up, Some(wanted)) if container.is_served_by_predecessor() => {
                let serving = container.serving().unwrap_or(wanted);
                format!(
                    "{name} is UP on {}, generation {}, until generation {} is UP on {}.",
                    on(serving.node_id),
                    serving.generation,
                    wanted.generation,
                    on(wanted.node_id)
                )
            }
            (Status::Up, Some(placement)) => {
                let since = container.up_since.map(|at| format!(" since {}", time(at))).unwrap_or(since);
                format!(
                    "{name} is UP on {}{since}, generation {}.",
                    on(placement.node_id),
                    placement.generation
                )
            }
            (Status::Launching | Status::Stopping | Status::Lost, Some(placement)) => format!(
                "{name} is {words} on {}{since}, generation {}.",
                on(placement.node_id),
                placement.generation
            ),
            (Status::Down, _) => {
                let at =
                    self.events.get(&container.seq).filter(|e| matches!(e.event, Event::ContainerStopped(_)));
                let since = at.map(|stop| format!(" since {}", time(stop.at))).unwrap_or(since);
                format!("{name} is DOWN{since}.")
            }
            _ => format!("{name} is {words}{since}."),
        }
    }

    /// The sentences on one event of the chain, and the event to go on with.
    fn tell_event(
        &self,
        container: &Container,
        envelope: &Envelope,
        waited: &mut bool,
    ) -> (Vec<String>, Option<Seq>) {
        let seq = envelope.seq;
        let by = names::actor(&envelope.actor);
        let node = |id| names::node(&self.cluster, id);
        let is_head = seq == container.cause;
        let one = |text: String| vec![text];
        let sentences = match &envelope.event {
            // The sentence on the state has said it.
            Event::ContainerLaunched(_) if is_head && container.status() == Status::Up => Vec::new(),
            Event::ContainerLaunched(e) => {
                one(format!("It had been launched on {} (event {seq}).", node(e.node_id)))
            }
            Event::ContainerMigrationCommanded(e) => {
                let mut sentences = one(self.moved(e, envelope));
                if e.reason != MigrationReason::Balance {
                    sentences.push(self.chosen(&node(e.node_id), &e.why, seq, false));
                }
                // What it answers was told with it.
                return (sentences, self.after_clause(envelope.cause));
            }
            Event::ContainerPlaced(e) => one(self.chosen(&node(e.node_id), &e.why, seq, true)),
            Event::ContainerLaunchRequested(_) => match self.clause(envelope.cause) {
                Some(clause) => {
                    let sentence = format!("Its launch was asked for (event {seq}) because {clause}.");
                    return (one(sentence), self.after_clause(envelope.cause));
                }
                None => one(format!("Its launch was asked for by {by} (event {seq}).")),
            },
            Event::ContainerCreated(_) => match self.clause(envelope.cause) {
                Some(clause) => {
                    let sentence = format!("It was created (event {seq}) because {clause}.");
                    return (one(sentence), self.after_clause(envelope.cause));
                }
                None => one(format!("It was created by {by} (event {seq}).")),
            },
            Event::ContainerLaunchFailed(e) if e.attempt == 0 => match std::mem::replace(waited, true) {
                // The newest reason counts; those before it are over.
                true => Vec::new(),
                false if container.phase == Phase::Waiting || container.lost => {
                    one(format!("It waits (event {seq}): {}.", e.reason))
                }
                false => one(format!("It had to wait (event {seq}): {}.", e.reason)),
            },
            Event::ContainerLaunchFailed(e) => {
                let on = e.node_id.map(|id| format!(" on {}", node(id))).unwrap_or_default();
                let next = match e.retry_at {
                    Some(at) => format!("the next was to follow at {}", time(at)),
                    None => "it was given up".to_owned(),
                };
                one(format!("Launch {}{on} failed (event {seq}: {}); {next}.", e.attempt, e.reason))
            }
            Event::ContainerExited(e) => {
                let next = match e.restart_at {
                    Some(at) => format!("its restart policy has it started again at {}", time(at)),
                    None => "its restart policy does not have it started again".to_owned(),
                };
                one(format!("Its process on {} ended (event {seq}: {}); {next}.", node(e.node_id), ended(e)))
            }
            Event::ContainerUnhealthy(e) => one(format!(
                "Its health check failed (event {seq}); it is restarted at {}.",
                time(e.restart_at)
            )),
            Event::ContainerObserved(_) | Event::ContainerAdopted(_) => {
                one(format!("{} (event {seq}).", self.says(envelope).trim_end_matches('.')))
            }
            Event::ContainerStopRequested(e) => {
                let what = if e.then_delete { "deletion" } else { "stop" };
                one(format!("Its {what} was asked for by {by} (event {seq})."))
            }
            Event::NodeUnhealthy(e) => {
                return (one(format!("{}.", self.judged(e, envelope, "event "))), None);
            }
            Event::NodeObserved(_) => Vec::new(),
            _ => one(format!("{} (event {seq}).", self.says(envelope).trim_end_matches('.'))),
        };
        (sentences, envelope.cause)
    }

    fn moved(&self, e: &ContainerMigrationCommanded, envelope: &Envelope) -> String {
        let by = names::actor(&envelope.actor);
        let from = names::node(&self.cluster, e.from_node_id);
        let seq = envelope.seq;
        let clause = self.clause(envelope.cause);
        match (e.reason, clause) {
            (MigrationReason::Unhealthy | MigrationReason::Drain, Some(clause)) => {
                format!("It was moved by {by} (event {seq}) because {clause}.")
            }
            (MigrationReason::Unhealthy, None) => {
                format!("It was moved by {by} (event {seq}) because {from} was unhealthy.")
            }
            (MigrationReason::Drain, None) => {
                format!("It was moved by {by} (event {seq}) because {from} was drained.")
            }
            (MigrationReason::Balance, clause) => {
                let because = clause.unwrap_or_else(|| "the counts of containers were uneven".to_owned());
                let to = names::node(&self.cluster, e.node_id);
                format!("It was moved from {from} to {to} by {by} (event {seq}) because {because}.")
            }
            (MigrationReason::Update, clause) => {
                let because = clause.unwrap_or_else(|| "its application had changed".to_owned());
                format!("It was made anew by {by} (event {seq}) because {because}.")
            }
        }
    }

    /// A cause as the second half of a sentence; `None` for one that is told by itself.
    fn clause(&self, cause: Option<Seq>) -> Option<String> {
        let envelope = self.events.get(&cause?)?;
        let by = names::actor(&envelope.actor);
        let seq = envelope.seq;
        let node = |id| names::node(&self.cluster, id);
        let application = |id| names::application(&self.cluster, id);
        match &envelope.event {
            Event::NodeUnhealthy(e) => Some(self.judged(e, envelope, "")),
            Event::NodeDrainStarted(e) => Some(format!("{by} had {} drained ({seq})", node(e.node_id))),
            Event::RebalancePlanned(e) => {
                Some(format!("the counts of containers were uneven ({seq}: {})", e.why))
            }
            Event::ApplicationUpdated(e) => {
                Some(format!("{by} edited application {} ({seq})", application(e.application_id)))
            }
            Event::ApplicationCreated(e) => {
                let many =
                    e.replicas.map(|n| format!(" with {}", counted(n, "container"))).unwrap_or_default();
                Some(format!("{by} created application {}{many} ({seq})", e.name))
            }
            Event::ApplicationScaled(e) => {
                let to = e.replicas.map(|n| format!(" to {}", counted(n, "container"))).unwrap_or_default();
                Some(format!("{by} scaled application {}{to} ({seq})", application(e.application_id)))
            }
            _ => None,
        }
    }

    /// Where the chain goes on when a cause was told as a clause: not behind the judgement of a node, whose probes were told
    /// with it.
    fn after_clause(&self, cause: Option<Seq>) -> Option<Seq> {
        let envelope = self.events.get(&cause?)?;
        match &envelope.event {
            Event::NodeUnhealthy(_) => None,
            _ if self.clause(cause).is_some() => envelope.cause,
            _ => cause,
        }
    }

    /// "node-a was judged unhealthy (811) after 3 failed probes (807, 809, 810: connection refused)"
    fn judged(&self, e: &NodeUnhealthy, envelope: &Envelope, word: &str) -> String {
        let node = names::node(&self.cluster, e.node_id);
        let probes = counted(e.failures, "failed probe");
        let count = e.failures.min(super::PROBES_LIMIT);
        let want = Want::FailedProbes { node: e.node_id, until: envelope.seq, count };
        let found: Vec<&Envelope> = self.found(&want).collect();
        let mut reasons: Vec<&str> = Vec::new();
        for probe in &found {
            if let Event::NodeObserved(observed) = &probe.event
                && let ProbeOutcome::Failed { reason } = &observed.outcome
                && !reasons.contains(&reason.as_str())
            {
                reasons.push(reason);
            }
        }
        if reasons.is_empty() {
            reasons.push(&e.reason); // the probes themselves were pruned
        }
        let seqs: Vec<String> = found.iter().map(|probe| probe.seq.to_string()).collect();
        let seqs = if seqs.is_empty() { String::new() } else { format!("{}: ", seqs.join(", ")) };
        format!(
            "{node} was judged unhealthy ({word}{}) after {probes} ({seqs}{})",
            envelope.seq,
            reasons.join("; ")
        )
    }

    /// "node-b was chosen with 4 containers; node-c had 6; node-d is cordoned (by alice, event 640)."
    fn chosen(&self, node: &str, why: &str, seq: Seq, with_seq: bool) -> String {
        let event = if with_seq { format!(" (event {seq})") } else { String::new() };
        let mut clauses = why.split("; ");
        let first = clauses.next().unwrap_or_default();
        let own = first.strip_prefix(node).map(str::trim_start);
        let mut text = match own.and_then(|own| own.strip_prefix("has the fewest containers (")) {
            Some(rest) => {
                let (count, rest) = rest.split_once(')').unwrap_or((rest, ""));
                let containers = count.parse::<u64>().map_or(count.to_owned(), |n| counted(n, "container"));
                let fewest = if rest.is_empty() { "" } else { ", the fewest" };
                format!("{node} was chosen{event} with {containers}{fewest}{rest}")
            }
            None => match own {
                Some(own) => format!("{node} was chosen{event}: it {own}"),
                None => format!("{node} was chosen{event}: {first}"),
            },
        };
        for clause in clauses {
            text += "; ";
            text += &self.passed(clause, seq);
        }
        text + "."
    }

    /// What the scheduler said of a node that was not chosen, in the past, with the event that took it out of placement.
    fn passed(&self, clause: &str, until: Seq) -> String {
        if let Some((name, score)) = clause.split_once(" has ") {
            let short = score.strip_suffix(" containers").or_else(|| score.strip_suffix(" container"));
            match short.filter(|count| count.bytes().all(|byte| byte.is_ascii_digit())) {
                Some(count) => return format!("{name} had {count}"),
                None if !score.ends_with("already") => return format!("{name} had {score}"),
                None => {}
            }
        }
        let because = names::out_of_placement(&self.cluster, clause)
            .and_then(|(node, kind)| self.found(&Want::Latest { kind, node, until }).next_back())
            .map(|envelope| format!(" (by {}, event {})", names::actor(&envelope.actor), envelope.seq));
        format!("{clause}{}", because.unwrap_or_default())
    }

    /// What keeps a container that waits from each node, now.
    fn why_not_placed(&self, container: &Container) -> Vec<String> {
        let application = container.application_id.and_then(|id| self.cluster.application(id));
        match application {
            None => return vec!["It has no application.".to_owned()],
            Some(application) if !application.is_enabled => {
                return vec![format!("Its application {} is disabled.", application.name)];
            }
            Some(application) => {
                if let Err(dependency) = self.cluster.dependencies_are_up(application) {
                    return vec![format!("No container of application {dependency} is UP.")];
                }
            }
        }
        let mut sentences = Vec::new();
        if let Some(at) = container.not_before {
            sentences.push(format!("The next launch is tried at {}.", time(at)));
        }
        let verdicts = self.verdicts(container);
        if verdicts.is_empty() {
            sentences.push("No node is mounted.".to_owned());
        }
        for verdict in verdicts.iter().take(NAMED) {
            let clause = self.passed(&verdict.to_string(), self.cluster.seq());
            let down = self.cluster.node(verdict.node_id).filter(|node| node.health == Health::Down);
            let judged = down.and_then(|node| Some((node.unhealthy_seq?, node.reason.clone()?)));
            sentences.push(match judged {
                Some((seq, reason)) => format!("{clause} (event {seq}: {reason})."),
                None => format!("{}.", clause.replace(" had ", " has ")),
            });
        }
        if verdicts.len() > NAMED {
            sentences.push(format!("So it is with {} more nodes.", verdicts.len() - NAMED));
        }
        sentences
    }

    // ---- a node -------------------------------------------------------------------------------------------------

    pub(super) fn sentences_about_node(&self, node: &Node) -> Vec<String> {
        let mut heads = self.heads.iter().map(|head| self.found(head).next_back());
        let health = heads.next().flatten();
        let availability = heads.next().flatten();
        let since = health.map(|envelope| format!(" since {}", time(envelope.at))).unwrap_or_default();
        let placement = match node.availability {
            Availability::Active => "",
            Availability::Cordoned => ", and cordoned",
            Availability::Draining => ", and draining",
        };
        let mut sentences = vec![format!("{} is {}{since}{placement}.", node.name, node.health.as_str())];
        if let Some(envelope) = health {
            let seq = envelope.seq;
            sentences.push(match &envelope.event {
                Event::NodeUnhealthy(e) => {
                    let judged = self.judged(e, envelope, "event ");
                    format!(
                        "It{}.",
                        judged.strip_prefix(&names::node(&self.cluster, e.node_id)).unwrap_or(&judged)
                    )
                }
                Event::NodeHealthy(e) => {
                    let probes = counted(e.successes, "answered probe");
                    format!("It was judged healthy (event {seq}) after {probes} in a row.")
                }
                Event::NodeMounted(_) => {
                    let by = names::actor(&envelope.actor);
                    format!("It was mounted by {by} (event {seq}) and not probed yet.")
                }
                _ => self.says(envelope),
            });
        }
        if let Some(envelope) = availability {
            let (by, seq) = (names::actor(&envelope.actor), envelope.seq);
            sentences.push(match (&envelope.event, node.drained) {
                (Event::NodeDrainStarted(_), true) => {
                    format!("Its drain was begun by {by} (event {seq}) and is done.")
                }
                (Event::NodeDrainStarted(_), false) => format!("Its drain was begun by {by} (event {seq})."),
                _ => format!("It was cordoned by {by} (event {seq})."),
            });
        }
        let has = counted(node.container_count(), "container");
        sentences.push(match (node.capacity, node.is_on_probation(self.cluster.at())) {
            (_, true) => {
                format!("It has {has}, and gets no others for a while: it keeps failing and coming back.")
            }
            (Some(capacity), false) => format!("It has {has} of at most {capacity}."),
            (None, false) => format!("It has {has}."),
        });
        sentences
    }
}
