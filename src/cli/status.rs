//! `kdaemon status`: the cluster on one screen.

use super::CliContext;
use super::client::ApiRequest;
use super::columns::rollout;
use super::error::CliError;
use super::get::{ListArgs, tell};
use super::kind::ResourceKind;
use super::names::NameCache;
use super::output::{Format, json, no_names, print, yaml};
use super::table::{TextTable, coloured, natural, plain, word};
use super::when::clock_ahead;
use kdaemon_api::{
    ApplicationRow, ContainerRow, ContainerStatus, DaemonRole, DesiredState, NodeRow, NodeState, Readiness,
};
use kdaemon_events::node::Availability;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use uuid::Uuid;

/// The state of a cluster on one screen.
#[derive(Debug, Default, Serialize)]
pub(super) struct ClusterSummary {
    /// Address of the daemon.
    server: String,
    /// Seq of the state that is shown.
    seq: Option<u64>,
    /// `leader` or `follower`, if several daemons share a log.
    role: Option<DaemonRole>,
    /// Why the daemon accepts no commands, if so.
    not_ready: Option<String>,
    /// How far the log's clock is ahead of the daemon's machine, in seconds; null if it is not.
    clock_ahead_seconds: Option<i64>,
    nodes: Vec<NodeLine>,
    applications: Vec<ApplicationLine>,
    /// Number of containers by status.
    containers: BTreeMap<String, u64>,
    /// Containers that should serve and do not.
    troubles: Vec<Trouble>,
}

#[derive(Debug, Serialize)]
struct NodeLine {
    name: String,
    state: NodeState,
    availability: Availability,
    containers: u32,
    capacity: Option<u32>,
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct ApplicationLine {
    name: String,
    image: String,
    /// Number of containers that serve.
    serving: u32,
    wanted: u32,
    /// Progress of a rollout that runs or is paused.
    rollout: Option<String>,
}

#[derive(Debug, Serialize)]
struct Trouble {
    name: String,
    status: ContainerStatus,
    node: Option<String>,
    reason: Option<String>,
}

/// Maximum number of containers in `troubles`.
const TROUBLES: usize = 1_000;

impl ClusterSummary {
    /// Reads the state from the daemon.
    pub(super) async fn ask(cx: &CliContext) -> Result<Self, CliError> {
        let mut status = Self { server: cx.client.origin().to_owned(), ..Self::default() };
        let all = ListArgs::default();
        let mut names = NameCache::default();
        cx.client
            .list(all.request(ResourceKind::Nodes)?, |row: NodeRow, _| {
                names.note(row.id, &row.name);
                status.nodes.push(NodeLine {
                    name: plain(&row.name),
                    state: row.state,
                    availability: row.availability,
                    containers: row.container_count,
                    capacity: row.capacity,
                    reason: row.reason.as_deref().map(plain),
                });
                Ok(())
            })
            .await?;
        let mut applications: BTreeMap<Uuid, ApplicationLine> = BTreeMap::new();
        cx.client
            .list(all.request(ResourceKind::Applications)?, |row: ApplicationRow, _| {
                let line = ApplicationLine {
                    name: plain(&row.name),
                    image: plain(&row.docker_image),
                    serving: 0,
                    wanted: row.replicas.unwrap_or(0),
                    rollout: row.rollout.as_ref().and_then(rollout),
                };
                applications.insert(row.id, line);
                Ok(())
            })
            .await?;
        let mut running: BTreeMap<Uuid, u32> = BTreeMap::new();
        status.seq = cx
            .client
            .list(all.request(ResourceKind::Containers)?, |row: ContainerRow, _| {
                *status.containers.entry(word(row.status)).or_insert(0) += 1;
                let is_wanted = row.desired == DesiredState::Running;
                let is_served = row.serving || row.status == ContainerStatus::Completed;
                if let Some(id) = row.application_id {
                    *running.entry(id).or_insert(0) += u32::from(is_wanted);
                    if let Some(line) = applications.get_mut(&id) {
                        line.serving += u32::from(is_served);
                    }
                }
                if is_wanted && !is_served && status.troubles.len() < TROUBLES {
                    status.troubles.push(Trouble {
                        name: plain(&row.name),
                        status: row.status,
                        node: row.node_id.map(|id| names.known(id)),
                        reason: row.reason.as_deref().map(plain),
                    });
                }
                Ok(())
            })
            .await?;
        for (id, line) in &mut applications {
            line.wanted = line.wanted.max(running.get(id).copied().unwrap_or(0));
        }
        status.applications = applications.into_values().collect();
        status.order();
        if cx.client.point().is_none() {
            status.readiness(cx).await?;
        }
        status.clock_ahead_seconds = Some(clock_ahead().num_seconds()).filter(|ahead| *ahead > 0);
        Ok(status)
    }

    /// Seq of the state that is shown.
    pub(super) fn seq(&self) -> Option<u64> {
        self.seq
    }

    /// Sorts what needs attention first, then by name.
    fn order(&mut self) {
        let is_well =
            |node: &NodeLine| node.state == NodeState::Up && node.availability == Availability::Active;
        self.nodes.sort_by(|a, b| is_well(a).cmp(&is_well(b)).then_with(|| natural(&a.name, &b.name)));
        let is_short = |line: &ApplicationLine| line.serving < line.wanted;
        self.applications
            .sort_by(|a, b| is_short(b).cmp(&is_short(a)).then_with(|| natural(&a.name, &b.name)));
        let is_given_up =
            |trouble: &Trouble| matches!(trouble.status, ContainerStatus::Failed | ContainerStatus::Lost);
        self.troubles
            .sort_by(|a, b| is_given_up(b).cmp(&is_given_up(a)).then_with(|| natural(&a.name, &b.name)));
    }

    async fn readiness(&mut self, cx: &CliContext) -> Result<(), CliError> {
        match cx.client.typed::<Readiness>(ApiRequest::get(&["readyz"])?).await {
            Ok(readiness) => self.role = Some(readiness.role),
            // The daemon just responded, so this is its own report.
            Err(CliError::Unreachable(why)) => self.not_ready = Some(why),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Renders the state in at most `lines` lines, if possible.
    pub(super) fn text(&self, lines: usize) -> String {
        let mut text = String::new();
        let seq = self.seq.map(|seq| format!("  event {seq}")).unwrap_or_default();
        let role = self.role.map(|role| format!("  {}", word(role))).unwrap_or_default();
        let _ = writeln!(text, "kDaemon at {}{role}{seq}", self.server);
        if let Some(why) = &self.not_ready {
            let _ = writeln!(text, "{}", console::style(format!("not ready: {why}")).red());
        }
        if let Some(seconds) = self.clock_ahead_seconds {
            let ahead = format!(
                "the log's clock is {seconds}s ahead of the daemon's machine: the log never goes back; times and ages are the \
                 log's"
            );
            let _ = writeln!(text, "{}", console::style(ahead).yellow());
        }
        let up = self.nodes.iter().filter(|node| node.state == NodeState::Up).count();
        let counts: Vec<_> =
            self.containers.iter().map(|(status, count)| format!("{count} {}", coloured(status))).collect();
        let counts = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        let _ = writeln!(text, "Nodes: {up} of {} UP   Containers: {counts}", self.nodes.len());

        let mut nodes = TextTable::new(&["NODE", "STATE", "AVAILABILITY", "CONTAINERS", "REASON"]);
        for node in &self.nodes {
            nodes.row([
                node.name.clone(),
                coloured(&word(node.state)),
                coloured(&word(node.availability)),
                match node.capacity {
                    Some(capacity) => format!("{}/{capacity}", node.containers),
                    None => node.containers.to_string(),
                },
                node.reason.clone().unwrap_or_default(),
            ]);
        }
        let mut applications = TextTable::new(&["APPLICATION", "SERVING", "IMAGE", "ROLLOUT"]);
        for line in &self.applications {
            let serving = format!("{}/{}", line.serving, line.wanted);
            let is_short = line.serving < line.wanted;
            let serving = if is_short { console::style(serving).yellow().to_string() } else { serving };
            applications.row([
                line.name.clone(),
                serving,
                line.image.clone(),
                line.rollout.clone().unwrap_or_default(),
            ]);
        }
        let mut troubles = TextTable::new(&["NOT SERVING", "STATUS", "NODE", "REASON"]);
        for trouble in &self.troubles {
            troubles.row([
                trouble.name.clone(),
                coloured(&word(trouble.status)),
                trouble.node.clone().unwrap_or_default(),
                trouble.reason.clone().unwrap_or_default(),
            ]);
        }
        let mut left = lines.saturating_sub(text.lines().count());
        let mut tables = [troubles, nodes, applications];
        tables.sort_by_key(TextTable::len);
        let count = tables.len();
        let mut shown = Vec::new();
        for (number, mut table) in tables.into_iter().enumerate().filter(|(_, table)| !table.is_empty()) {
            // Each table gets a fair share of the remaining lines, shorter tables first. Three lines go to a blank line, the
            // header, and possibly the number of omitted rows.
            let share = (left / (count - number)).saturating_sub(3).max(1);
            let (all, head) = (table.len(), table.text().chars().next());
            table.truncate(share);
            let more = all - table.len();
            let mut piece = format!("\n{}", table.text());
            if more > 0 {
                let _ = writeln!(piece, "… and {more} more");
            }
            left = left.saturating_sub(piece.lines().count());
            shown.push((head, piece));
        }
        // Order of importance: troubles, nodes, applications.
        shown.sort_by_key(|(head, _)| !matches!(head, Some('N')));
        for (_, piece) in shown {
            text.push_str(&piece);
        }
        text
    }
}

/// Shows the state once.
pub(super) async fn run(cx: &CliContext) -> Result<(), CliError> {
    let status = ClusterSummary::ask(cx).await?;
    tell(cx, status.seq);
    match cx.output.unwrap_or(Format::Table) {
        Format::Json => print(&json(&status)?),
        Format::Yaml => print(&yaml(&status)?),
        Format::Name => Err(no_names()),
        Format::Wide => print(&status.text(usize::MAX)),
        Format::Table => {
            let terminal = console::Term::stdout();
            let lines = if terminal.is_term() { usize::from(terminal.size().0) } else { usize::MAX };
            print(&status.text(lines.max(12)))
        }
    }
}
