//! The route that rebalances the cluster.

use super::command::{Call, CommandQuery, Effect, Progress, Show};
use super::problem::Problem;
use super::resource::json;
use super::{HandlerResult, Routes};
use crate::says;
use axum::http::StatusCode;
use kdaemon_api::Rebalance;
use kdaemon_control::commands::Command;
use kdaemon_events::{Envelope, Event, Strategy};
use kdaemon_projections::Cluster;
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(rebalance)]
}

/// Plan and start a rebalance
#[utoipa::path(post, path = "/rebalance", tag = "cluster", params(CommandQuery),
    responses((status = 200, description = "No containers to move", body = Rebalance), (status = 202, description = "Moving", body = Rebalance)))]
async fn rebalance(call: Call) -> HandlerResult {
    if let Some(pause) = call.api.journal.cluster().paused() {
        return Err(Problem::conflict(format!("migrations are paused: {}", says::pause(pause))));
    }
    let moves = Moves(call.api.journal.policy().strategy);
    call.run(Command::Rebalance, None, moves, None).await
}

/// Responds with the moves of a rebalance.
#[derive(Clone)]
struct Moves(Strategy);

impl Show for Moves {
    const DONE: StatusCode = StatusCode::OK;

    fn show(&self, cluster: &Cluster, events: &[Envelope]) -> Effect {
        let planned = events.iter().find_map(|envelope| match &envelope.event {
            Event::RebalancePlanned(planned) => Some(planned),
            _ => None,
        });
        let rebalance = match planned {
            Some(planned) => Rebalance {
                moves: planned.moves.clone(),
                remaining: planned.remaining,
                why: says::uneven(planned.most, planned.fewest),
            },
            None => nothing_to_move(cluster, self.0),
        };
        let is_moving = rebalance.moves.iter().any(|step| {
            cluster.container(step.container_id).is_some_and(|container| container.migrating.is_some())
        });
        let progress = if is_moving { Progress::Pending } else { Progress::Done };
        Effect { progress, body: json(&rebalance), tag: None }
    }
}

fn nothing_to_move(cluster: &Cluster, strategy: Strategy) -> Rebalance {
    let plan = kdaemon_control::scheduler::plan(cluster, strategy);
    let remaining = u32::try_from(plan.moves().count()).unwrap_or(u32::MAX);
    let why = match remaining {
        0 => "containers are distributed as evenly as possible".to_owned(),
        _ => {
            format!("{}; max_migrations containers are already moving", says::uneven(plan.most, plan.fewest))
        }
    };
    Rebalance { moves: Vec::new(), remaining, why }
}
