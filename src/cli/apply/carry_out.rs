//! Execution of a plan, step by step.

use super::plan::{ApplyPlan, ApplyStep, StepKind};
use crate::cli::CliContext;
use crate::cli::applications::delete_containers;
use crate::cli::change::ChangeArgs;
use crate::cli::client::ApiRequest;
use crate::cli::error::CliError;
use crate::cli::output::say;
use crate::cli::progress::{look, spinner};
use crate::cli::target::{ChangeTarget, Watching};
use http::Method;
use kdaemon_api::{ContainerRow, DesiredState};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often the replacement of containers is polled.
const PERIOD: Duration = Duration::from_millis(300);
/// Timeout for the removal of containers under `--no-wait`.
const REMOVAL_LIMIT: Duration = Duration::from_secs(300);

/// Carries out all steps; with `wait`, each step waits for its containers.
pub(super) async fn run(cx: &CliContext, plan: &ApplyPlan, wait: Option<Duration>) -> Result<(), CliError> {
    // The plan was printed in the requested format; the steps print messages only.
    let cx = &CliContext { output: None, ..cx.clone() };
    for step in &plan.steps {
        let name = step.application.as_str();
        let before = match wait {
            Some(_) if step.replaces => generations(cx, name).await?,
            _ => BTreeMap::new(),
        };
        carry_out(cx, step).await?;
        if let Some(wait) = wait {
            replaced(cx, name, &before, wait).await?;
            let request = ApiRequest::new(Method::POST, &["applications", "scale", name])?;
            let request = request.body(json!({"replicas": step.replicas}));
            if step.action != StepKind::Unchanged {
                let target = ChangeTarget::application(name, "is up to date", "updating");
                cx.change(request, &ChangeArgs::waiting(wait), &target).await?;
            }
        }
    }
    if plan.prune {
        for name in &plan.vanished {
            delete_containers(cx, name, wait.unwrap_or(REMOVAL_LIMIT)).await?;
            let request = ApiRequest::new(Method::DELETE, &["applications", "delete", name])?;
            cx.change(
                request,
                &ChangeArgs::default(),
                &ChangeTarget::application(name, "removed", "removing"),
            )
            .await?;
        }
    }
    Ok(())
}

async fn carry_out(cx: &CliContext, step: &ApplyStep) -> Result<(), CliError> {
    let name = step.application.as_str();
    let body = Value::Object(step.body.clone());
    match step.action {
        StepKind::Unchanged => {}
        StepKind::Create => {
            let request = ApiRequest::new(Method::POST, &["applications", "create"])?.body(body);
            cx.change(
                request,
                &ChangeArgs::default(),
                &ChangeTarget::application(name, "created", "creating"),
            )
            .await?;
        }
        StepKind::Change => {
            let mut request = ApiRequest::new(Method::PATCH, &["applications", "update", name])?.body(body);
            request.if_match = step.seq;
            cx.change(
                request,
                &ChangeArgs::default(),
                &ChangeTarget::application(name, "updated", "updating"),
            )
            .await?;
        }
    }
    Ok(())
}

/// The generations of an application's running containers, by id.
async fn generations(cx: &CliContext, application: &str) -> Result<BTreeMap<Uuid, u32>, CliError> {
    let mut generations = BTreeMap::new();
    let request = ApiRequest::get(&["containers"])?.query("application_id", application);
    cx.client
        .list(request, |row: ContainerRow, _| {
            if row.desired == DesiredState::Running {
                generations.insert(row.id, row.generation);
            }
            Ok(())
        })
        .await?;
    Ok(generations)
}

/// Waits until every container that ran before the change has a new generation or is gone.
async fn replaced(
    cx: &CliContext,
    application: &str,
    before: &BTreeMap<Uuid, u32>,
    wait: Duration,
) -> Result<(), CliError> {
    if before.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let bar = spinner(format!("application `{application}`"));
    let result = loop {
        let now = match generations(cx, application).await {
            Ok(now) => now,
            Err(failure) => break Err(failure),
        };
        let old = before.iter().filter(|(id, generation)| now.get(*id) == Some(generation)).count();
        if old == 0 {
            break Ok(());
        }
        if begun.elapsed() > wait {
            let seconds = wait.as_secs();
            break Err(CliError::Other(format!(
                "timed out after {seconds}s: {old} containers of application `{application}` are not replaced yet; the \
                 daemon continues"
            )));
        }
        if !bar.is_hidden()
            && let Ok(Some(state)) = look(&cx.client, &Watching::Application(application.to_owned())).await
        {
            bar.set_message(format!("application `{application}`: {old} to replace, {state}"));
        }
        tokio::time::sleep(PERIOD).await;
    };
    bar.finish_and_clear();
    if result.is_ok() {
        say(format_args!("application `{application}`: containers replaced"));
    }
    result
}
