//! A builder of logs for the tests of sentences.

use crate::says::why;
use chrono::{DateTime, TimeDelta};
use kdaemon_control::history::{Inquiry, Want, is_failed_probe};
use kdaemon_events::application::ApplicationCreated;
use kdaemon_events::container::*;
use kdaemon_events::failure::{Failure, ProbeFailure};
use kdaemon_events::node::*;
use kdaemon_events::scheduling::*;
use kdaemon_events::{
    Actor, ApplicationId, ContainerId, Endpoint, Envelope, Event, EventId, Generation, NodeId, Seq, Strategy,
    Subject, UpdatePolicy,
};
use kdaemon_projections::Cluster;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A log with one event per second from 03:02:01 on.
#[derive(Default, Clone)]
pub(super) struct LogBuilder(pub(super) Vec<Envelope>);

pub(super) fn uuid(name: &str) -> Uuid {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(byte, letter)| *byte = letter);
    Uuid::from_bytes(bytes)
}
pub(super) fn node(name: &str) -> NodeId {
    NodeId(uuid(name))
}
pub(super) fn container(name: &str) -> ContainerId {
    ContainerId(uuid(name))
}
pub(super) fn application(name: &str) -> ApplicationId {
    ApplicationId(uuid(name))
}
pub(super) fn alice() -> Actor {
    Actor::Token { name: "alice".into() }
}

impl LogBuilder {
    pub(super) fn write(&mut self, actor: Actor, cause: u64, event: impl Into<Event>) -> u64 {
        let seq = self.0.len() as u64 + 1;
        let began = DateTime::parse_from_rfc3339("2026-11-22T03:02:00Z").unwrap().to_utc();
        self.0.push(Envelope {
            seq: Seq(seq),
            id: EventId(Uuid::from_u128(seq.into())),
            at: began + TimeDelta::seconds(i64::try_from(seq).unwrap()),
            actor,
            request_id: None,
            cause: (cause > 0).then_some(Seq(cause)),
            event: event.into(),
        });
        seq
    }

    pub(super) fn reactor(&mut self, name: &str, cause: u64, event: impl Into<Event>) -> u64 {
        self.write(Actor::reactor(name), cause, event)
    }

    /// Begins a log with nodes that are UP.
    pub(super) fn nodes(names: &[&str]) -> Self {
        let mut log = Self::default();
        for name in names {
            log.write(
                alice(),
                0,
                NodeMounted {
                    node_id: node(name),
                    name: (*name).into(),
                    user_id: None,
                    endpoint: Endpoint::tcp(name, 2375).unwrap(),
                    labels: BTreeMap::new(),
                    capacity: (*name == "full").then_some(0),
                },
            );
            let seen = log.probe(name, None);
            log.reactor("health", seen, NodeHealthy { node_id: node(name), successes: 1 });
        }
        log
    }

    pub(super) fn probe(&mut self, name: &str, failure: Option<&str>) -> u64 {
        let outcome = match failure {
            Some(quote) => ProbeOutcome::Failed { failure: refused(quote) },
            None => ProbeOutcome::Answered { running: None, foreign: None },
        };
        let node_id = node(name);
        self.reactor(
            "health",
            0,
            NodeObserved { node_id, outcome, latency_ms: 3, engine: None, orphans: Vec::new() },
        )
    }

    pub(super) fn fail(&mut self, name: &str) -> u64 {
        self.probe(name, Some("connection refused"));
        self.probe(name, None); // interrupts the series
        self.probe(name, Some("connection refused"));
        self.probe("node-b", None);
        self.probe(name, Some("connection refused"));
        let seen = self.probe(name, Some("no answer in time"));
        let failure = refused("no answer in time");
        self.reactor("health", seen, NodeUnhealthy { node_id: node(name), failures: 3, failure })
    }

    pub(super) fn cordon(&mut self, name: &str) -> u64 {
        self.write(alice(), 0, NodeCordoned { node_id: node(name) })
    }

    pub(super) fn application(&mut self, replicas: Option<u32>) -> u64 {
        self.write(
            alice(),
            0,
            ApplicationCreated {
                application_id: application("web"),
                name: "web".into(),
                user_id: None,
                spec: Box::default(),
                is_enabled: true,
                dependencies: Vec::new(),
                replicas,
                update_policy: UpdatePolicy::Manual,
                update: kdaemon_events::application::UpdateSettings::default(),
            },
        )
    }

    pub(super) fn created(&mut self, cause: u64) -> u64 {
        self.write(
            alice(),
            cause,
            ContainerCreated {
                container_id: container("web-1"),
                name: "web-1".into(),
                user_id: None,
                application_id: Some(application("web")),
                env_variables: BTreeMap::new(),
                balance: true,
                replica: cause > 0,
            },
        )
    }

    pub(super) fn requested(&mut self, cause: u64) -> u64 {
        self.write(
            alice(),
            cause,
            ContainerLaunchRequested { container_id: container("web-1"), generation: None },
        )
    }

    pub(super) fn placed(&mut self, cause: u64, on: &str, evaluation: Evaluation) -> u64 {
        let (container_id, node_id) = (container("web-1"), node(on));
        self.write(
            alice(),
            cause,
            ContainerPlaced {
                container_id,
                generation: Generation(1),
                node_id,
                evaluation: Box::new(evaluation),
            },
        )
    }

    pub(super) fn launched(&mut self, cause: u64, on: &str, generation: u32) -> u64 {
        self.reactor(
            "launcher",
            cause,
            ContainerLaunched {
                container_id: container("web-1"),
                generation: Generation(generation),
                node_id: node(on),
                engine_id: "e".into(),
                image_id: "i".into(),
                ports: Vec::new(),
                volumes: Vec::new(),
                health_check: false,
                access_link: None,
            },
        )
    }

    pub(super) fn moved(
        &mut self,
        cause: u64,
        path: (&str, &str),
        reason: MigrationReason,
        evaluation: Option<Evaluation>,
    ) -> u64 {
        self.reactor(
            "rebalancer",
            cause,
            ContainerMigrationCommanded {
                container_id: container("web-1"),
                from_node_id: node(path.0),
                from_generation: Generation(1),
                node_id: node(path.1),
                generation: Generation(2),
                reason,
                start_first: false,
                evaluation: evaluation.map(Box::new),
            },
        )
    }

    /// The same log with other names of nodes, applications and containers.
    pub(super) fn renamed(&self, name: impl Fn(&str) -> String) -> Self {
        let mut renamed = self.clone();
        for envelope in &mut renamed.0 {
            match &mut envelope.event {
                Event::NodeMounted(e) => e.name = name(&e.name),
                Event::ApplicationCreated(e) => e.name = name(&e.name),
                Event::ContainerCreated(e) => e.name = name(&e.name),
                _ => {}
            }
        }
        renamed
    }

    /// Adds the events of a container that alice launches on node `on`.
    pub(super) fn running(&mut self, on: &str) -> u64 {
        self.application(None);
        let created = self.created(0);
        let requested = self.requested(created);
        let placed = self.placed(requested, on, fewest(0, []));
        self.launched(placed, on, 1)
    }

    pub(super) fn abandoned(&mut self, cause: u64, attempt: u32, quote: &str) -> u64 {
        let (container_id, generation, node_id) = (container("web-1"), Generation(1), node("node-a"));
        let failure = Failure::refused(quote);
        let abandoned = ContainerLaunchAbandoned {
            container_id,
            generation,
            node_id,
            failure,
            node_fault: false,
            attempt,
            retry_at: DateTime::parse_from_rfc3339("2026-11-22T03:12:00Z").unwrap().to_utc(),
        };
        self.reactor("launcher", cause, abandoned)
    }

    pub(super) fn inquire(&self, subject: Subject) -> Inquiry {
        let cluster = Arc::new(Cluster::default().fold(&self.0));
        let mut inquiry = Inquiry::begin(cluster, subject, Strategy::Spread).unwrap();
        while let Some(want) = inquiry.wants() {
            inquiry.add(want, self.read(want));
        }
        let steps: Vec<_> = inquiry.steps().map(|(envelope, because)| (envelope.seq, because)).collect();
        for (seq, because) in &steps {
            assert!(because.iter().all(|cause| cause < seq), "a cause comes after its effect");
            assert!(because.iter().all(|cause| steps.iter().any(|(other, _)| other == cause)));
        }
        assert!(steps.is_sorted_by(|a, b| a.0 > b.0), "newest first");
        inquiry
    }

    pub(super) fn read(&self, want: Want) -> Vec<Envelope> {
        let until = |seq: Seq| self.0.iter().filter(move |e| e.seq <= seq).cloned();
        match want {
            Want::Event(seq) => until(seq).filter(|e| e.seq == seq).collect(),
            Want::Latest { kind, node, until: seq } => {
                let about = |e: &Envelope| e.event.kind() == kind && e.event.subjects()[0].uuid() == node.0;
                until(seq).rfind(about).into_iter().collect()
            }
            Want::FailedProbes { node, until: seq, count } => {
                let mut all: Vec<_> = until(seq).filter(|e| is_failed_probe(&e.event, node)).collect();
                all.split_off(all.len().saturating_sub(count as usize))
            }
        }
    }

    #[track_caller]
    pub(super) fn says(&self, sentences: &[&str]) -> Inquiry {
        let inquiry = self.inquire(Subject::Container(container("web-1")));
        assert_eq!(why(&inquiry), sentences);
        inquiry
    }

    #[track_caller]
    pub(super) fn says_of(&self, name: &str, sentences: &[&str]) {
        assert_eq!(why(&self.inquire(Subject::Node(node(name)))), sentences);
    }
}

pub(super) fn refused(quote: &str) -> ProbeFailure {
    Failure::refused(quote).into()
}

pub(super) fn score(containers: u32) -> Score {
    Score { containers, ..Score::default() }
}

pub(super) fn fits(name: &str, containers: u32) -> NodeVerdict {
    NodeVerdict { node_id: node(name), verdict: Verdict::Fits(score(containers)) }
}

pub(super) fn rejected(name: &str, rejection: Rejection) -> NodeVerdict {
    NodeVerdict { node_id: node(name), verdict: Verdict::Rejected(rejection) }
}

/// The evaluation of a node that was chosen for having the fewest containers.
pub(super) fn fewest<const N: usize>(containers: u32, others: [NodeVerdict; N]) -> Evaluation {
    Evaluation { score: score(containers), eligible: 1, others: others.into(), ..Evaluation::default() }
}
