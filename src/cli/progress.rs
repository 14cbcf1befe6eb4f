//! Progress on stderr while a command waits, if stderr is a terminal.

use super::client::{ApiClient, ApiRequest, ApiResponse};
use super::error::CliError;
use super::table::{bytes, plain, word};
use super::target::{ChangeTarget, Watching};
use indicatif::{ProgressBar, ProgressStyle};
use kdaemon_api::{ApplicationRow, ContainerRow, ContainerStatus, LaunchProgress, LaunchStep, NodeRow};
use std::time::Duration;
use uuid::Uuid;

/// How often the progress is polled.
const PERIOD: Duration = Duration::from_millis(300);

/// A spinner on stderr; hidden if stderr is not a terminal.
pub(super) fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Waits for a response and shows the progress of the command until it arrives.
pub(super) async fn while_waiting(
    client: &ApiClient,
    target: &ChangeTarget,
    reply: impl Future<Output = Result<ApiResponse, CliError>>,
) -> Result<ApiResponse, CliError> {
    let bar = spinner(target.title(None));
    let told = async {
        loop {
            tokio::time::sleep(PERIOD).await;
            if bar.is_hidden() {
                continue;
            }
            // A failed poll is repeated; the response itself reports what went wrong.
            if let Ok(Some(state)) = look(client, &target.watching).await {
                bar.set_message(format!("{}: {state}", target.title(None)));
            }
        }
    };
    let result = tokio::select! {
        reply = reply => reply,
        () = told => Err(CliError::Other("progress polling ended unexpectedly".to_owned())),
    };
    bar.finish_and_clear();
    result
}

/// The present progress, for people; `None` if there is none to show.
pub(super) async fn look(client: &ApiClient, watching: &Watching) -> Result<Option<String>, CliError> {
    Ok(match watching {
        Watching::Nothing => None,
        Watching::Container(name) => {
            let row: ContainerRow = client.typed(ApiRequest::get(&["containers", name])?).await?;
            let launching = (row.status == ContainerStatus::Launching).then_some(row.id);
            let pulled = pulled(client, launching).await.map(|pulled| format!(", {pulled}"));
            let reason = row.reason.map(|reason| format!(", {}", plain(&reason)));
            Some(format!("{}{}", word(row.status), pulled.or(reason).unwrap_or_default()))
        }
        Watching::Node(name) => {
            let row: NodeRow = client.typed(ApiRequest::get(&["nodes", name])?).await?;
            Some(match row.container_count {
                0 => "waiting for its engine to remove the last containers".to_owned(),
                1 => "1 container left".to_owned(),
                count => format!("{count} containers left"),
            })
        }
        Watching::Application(name) => {
            let row: ApplicationRow = client.typed(ApiRequest::get(&["applications", name])?).await?;
            let mut states = std::collections::BTreeMap::new();
            let mut launching = None;
            let request = ApiRequest::get(&["containers"])?.query("application_id", name);
            client
                .list(request, |row: ContainerRow, _| {
                    if row.status == ContainerStatus::Launching {
                        launching.get_or_insert(row.id);
                    }
                    *states.entry(word(row.status)).or_insert(0_u32) += 1;
                    Ok(())
                })
                .await?;
            let up = states.remove("UP").unwrap_or(0);
            let others: String = states.iter().map(|(state, count)| format!(", {count} {state}")).collect();
            // The containers share one image, so the pull of any of them stands for all.
            let pulled = pulled(client, launching).await.map(|pulled| format!("; {pulled}"));
            Some(format!("{up} of {} UP{others}{}", row.replicas.unwrap_or(up), pulled.unwrap_or_default()))
        }
    })
}

/// The progress of the image pull of a container that is being launched; `None` while nothing is pulled.
async fn pulled(client: &ApiClient, container: Option<Uuid>) -> Option<String> {
    let request = ApiRequest::get(&["containers", &container?.to_string(), "progress"]).ok()?;
    // Progress is optional: the container's status is shown anyway.
    pull_progress(&client.typed(request).await.ok()?)
}

fn pull_progress(progress: &LaunchProgress) -> Option<String> {
    let image = progress.image.as_deref().filter(|_| progress.step == LaunchStep::Pulling)?;
    let far = match (progress.percent, progress.of) {
        (Some(percent), Some(of)) => format!(": {percent} % of {}", bytes(of)),
        _ => String::new(),
    };
    Some(format!("pulling {}{far}", plain(image)))
}

#[cfg(test)]
mod tests {
    use super::pull_progress;

    #[test]
    fn pull_progress_has_a_percentage_once_the_size_is_known() {
        let told = |text| pull_progress(&serde_json::from_str(text).ok()?);
        for (progress, wanted) in [
            (
                r#"{"step":"pulling","image":"nginx:1.27","bytes":26214400,"of":52428800,"percent":50}"#,
                Some("pulling nginx:1.27: 50 % of 50.0 MiB"),
            ),
            (r#"{"step":"pulling","image":"nginx","bytes":0,"of":0,"percent":null}"#, Some("pulling nginx")),
            (r#"{"step":"starting","image":null,"bytes":null,"of":null,"percent":null}"#, None),
        ] {
            assert_eq!(told(progress).as_deref(), wanted, "{progress}");
        }
    }
}
