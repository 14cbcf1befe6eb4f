//! Names of nodes, applications, containers and actors in sentences.

use kdaemon_events::{Actor, ApplicationId, ContainerId, NodeId, Subject};
use kdaemon_projections::Cluster;

/// Resolves ids to names with the first of several states that has the id.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a>(Option<&'a [&'a Cluster]>);

impl<'a> Names<'a> {
    /// Resolves ids with these states, in this order.
    #[must_use]
    pub fn of(states: &'a [&'a Cluster]) -> Self {
        Self(Some(states))
    }

    /// Resolves every id to itself, so that sentences do not depend on a state.
    #[must_use]
    pub fn ids() -> Self {
        Self(None)
    }

    /// The name in the first state that has one, or the id followed by `gone` in parentheses.
    fn name(
        self,
        id: impl std::fmt::Display,
        gone: &str,
        find: impl Fn(&Cluster) -> Option<String>,
    ) -> String {
        match self.0 {
            None => id.to_string(),
            Some(states) => {
                states.iter().find_map(|cluster| find(cluster)).unwrap_or_else(|| format!("{id} ({gone})"))
            }
        }
    }

    /// The name of a node, or its id if it was unmounted.
    #[must_use]
    pub fn node(&self, id: NodeId) -> String {
        self.name(id, "unmounted", |cluster| {
            let unmounted = || cluster.unmounted(id).map(|node| format!("{} (unmounted)", node.name));
            cluster.node(id).map(|node| node.name.clone()).or_else(unmounted)
        })
    }

    /// The name of an application, or its id if it was deleted.
    #[must_use]
    pub fn application(&self, id: ApplicationId) -> String {
        self.name(id, "deleted", |cluster| {
            cluster.application(id).map(|application| application.name.clone())
        })
    }

    /// The name of a container, or its id if it was deleted.
    #[must_use]
    pub fn container(&self, id: ContainerId) -> String {
        self.name(id, "deleted", |cluster| cluster.container(id).map(|container| container.name.clone()))
    }

    /// The name of a node, application or container; "application" precedes that of an application.
    #[must_use]
    pub fn subject(&self, subject: Subject) -> String {
        match subject {
            Subject::Node(id) => self.node(id),
            Subject::Application(id) => format!("application {}", self.application(id)),
            Subject::Container(id) => self.container(id),
        }
    }
}

/// The actor of an event, to follow "by".
pub(super) fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Token { name } => name.clone(),
        Actor::Anonymous => "an anonymous client".to_owned(),
        Actor::Reactor { name } if name.ends_with("er") || name.ends_with("or") => format!("the {name}"),
        Actor::Reactor { name } if name == "daemon" => "the daemon".to_owned(),
        Actor::Reactor { name } => format!("the {name} reactor"),
    }
}
