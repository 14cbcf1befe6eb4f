//! Names of things in sentences.

use kdaemon_events::{Actor, ApplicationId, ContainerId, NodeId, Subject};
use kdaemon_projections::Cluster;

/// Resolves ids to names, by the first of several states that knows the thing.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a>(&'a [&'a Cluster]);

impl<'a> Names<'a> {
    /// Names of these states.
    #[must_use]
    pub fn of(states: &'a [&'a Cluster]) -> Self {
        Self(states)
    }

    /// The name of a node; of one that is gone, its id.
    #[must_use]
    pub fn node(&self, id: NodeId) -> String {
        let found = self.0.iter().find_map(|cluster| cluster.node(id));
        found.map_or_else(|| format!("node {id} (unmounted)"), |node| node.name.clone())
    }

    /// The name of an application; of one that is gone, its id.
    #[must_use]
    pub fn application(&self, id: ApplicationId) -> String {
        let found = self.0.iter().find_map(|cluster| cluster.application(id));
        found.map_or_else(|| format!("{id} (deleted)"), |application| application.name.clone())
    }

    /// The name of a container; of one that is gone, its id.
    #[must_use]
    pub fn container(&self, id: ContainerId) -> String {
        let found = self.0.iter().find_map(|cluster| cluster.container(id));
        found.map_or_else(|| format!("container {id} (deleted)"), |container| container.name.clone())
    }

    /// The name of any of them.
    #[must_use]
    pub fn subject(&self, subject: Subject) -> String {
        match subject {
            Subject::Node(id) => self.node(id),
            Subject::Application(id) => format!("application {}", self.application(id)),
            Subject::Container(id) => self.container(id),
        }
    }
}

/// Who did something, after "by".
pub(super) fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Token { name } => name.clone(),
        Actor::Anonymous => "an anonymous client".to_owned(),
        Actor::Reactor { name } if name.ends_with("er") || name.ends_with("or") => format!("the {name}"),
        Actor::Reactor { name } if name == "daemon" => "the daemon".to_owned(),
        Actor::Reactor { name } => format!("the {name} reactor"),
    }
}
