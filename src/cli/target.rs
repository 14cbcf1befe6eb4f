//! The target of a command, as messages and progress refer to it.

use super::table::plain;

/// The resource whose progress is shown while a command waits.
#[derive(Debug, Clone)]
pub(super) enum Watching {
    /// No resource: the command has no visible progress.
    Nothing,
    /// The container of this name or id.
    Container(String),
    /// The containers of the application of this name or id.
    Application(String),
    /// The node of this name or id, which is being drained.
    Node(String),
}

/// The target of a command, for messages and progress.
#[derive(Debug, Clone)]
pub(super) struct ChangeTarget {
    /// Kind of the target: `node`.
    pub(super) thing: &'static str,
    /// Name of the target, or what stands for it until the daemon responds.
    pub(super) name: String,
    /// State after the command took effect: `drained`, `is UP`.
    pub(super) done: &'static str,
    /// Activity until then: `draining`.
    pub(super) going: &'static str,
    /// Resource whose progress is shown.
    pub(super) watching: Watching,
}

impl ChangeTarget {
    /// A node that is mounted or edited, which has no progress.
    pub(super) fn node(name: &str, done: &'static str, going: &'static str) -> Self {
        Self { thing: "node", name: name.to_owned(), done, going, watching: Watching::Nothing }
    }

    /// A node whose containers may have to leave.
    pub(super) fn drained_node(name: &str, done: &'static str, going: &'static str) -> Self {
        Self { watching: Watching::Node(name.to_owned()), ..Self::node(name, done, going) }
    }

    /// An application.
    pub(super) fn application(name: &str, done: &'static str, going: &'static str) -> Self {
        let watching = Watching::Application(name.to_owned());
        Self { thing: "application", name: name.to_owned(), done, going, watching }
    }

    /// A container.
    pub(super) fn container(name: &str, done: &'static str, going: &'static str) -> Self {
        let watching = Watching::Container(name.to_owned());
        Self { thing: "container", name: name.to_owned(), done, going, watching }
    }

    /// The target in messages. The name in the response takes precedence over the requested one.
    pub(super) fn title(&self, name: Option<&str>) -> String {
        format!("{} `{}`", self.thing, plain(name.unwrap_or(&self.name)))
    }
}
