//! What is seen while a command waits: how far it has come, on stderr, where that is a terminal.

use super::change::About;
use super::client::{Answer, Client, Request};
use super::failure::Failure;
use super::table::{bytes, plain, word};
use indicatif::{ProgressBar, ProgressStyle};
use kdaemon_api::{ApplicationRow, ContainerRow, ContainerStatus, LaunchProgress, LaunchStep, NodeRow};
use std::time::Duration;
use uuid::Uuid;

/// How often it is looked how far something is.
const PERIOD: Duration = Duration::from_millis(300);

/// What to look at while waiting.
#[derive(Debug, Clone)]
pub(super) enum Watching {
    /// Nothing that would change in the meantime.
    Nothing,
    /// A container.
    Container(String),
    /// The containers of an application.
    Application(String),
    /// A node that is being emptied.
    Node(String),
}

/// A line on stderr that moves; hidden where stderr is no terminal.
pub(super) fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(message);
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Waits for an answer, and shows how things stand meanwhile.
pub(super) async fn while_waiting(
    client: &Client,
    about: &About,
    answer: impl Future<Output = Result<Answer, Failure>>,
) -> Result<Answer, Failure> {
    let bar = spinner(about.title(None));
    let told = async {
        loop {
            tokio::time::sleep(PERIOD).await;
            if bar.is_hidden() {
                continue;
            }
            // What cannot be seen now is seen the next time; the answer itself says what went wrong.
            if let Ok(Some(state)) = look(client, &about.watching).await {
                bar.set_message(format!("{}: {state}", about.title(None)));
            }
        }
    };
    let result = tokio::select! {
        answer = answer => answer,
        () = told => Err(Failure::Other("the waiting ended".to_owned())),
    };
    bar.finish_and_clear();
    result
}

/// How things stand, in words.
pub(super) async fn look(client: &Client, watching: &Watching) -> Result<Option<String>, Failure> {
    Ok(match watching {
        Watching::Nothing => None,
        Watching::Container(name) => {
            let row: ContainerRow = client.typed(Request::get(&["containers", name])?).await?;
            let launching = (row.status == ContainerStatus::Launching).then_some(row.id);
            let pulled = pulled(client, launching).await.map(|pulled| format!(", {pulled}"));
            let reason = row.reason.map(|reason| format!(", {}", plain(&reason)));
            Some(format!("{}{}", word(row.status), pulled.or(reason).unwrap_or_default()))
        }
        Watching::Node(name) => {
            let row: NodeRow = client.typed(Request::get(&["nodes", name])?).await?;
            Some(format!("{} containers left", row.container_count))
        }
        Watching::Application(name) => {
            let row: ApplicationRow = client.typed(Request::get(&["applications", name])?).await?;
            let mut states = std::collections::BTreeMap::new();
            let mut launching = None;
            let request = Request::get(&["containers"])?.query("application_id", name);
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
            // They have one image: how far it is for one of them is how far it is, more or less.
            let pulled = pulled(client, launching).await.map(|pulled| format!("; {pulled}"));
            Some(format!("{up} of {} UP{others}{}", row.replicas.unwrap_or(up), pulled.unwrap_or_default()))
        }
    })
}

/// How much of its image has come for a container that is launched, in words; `None` while nothing is pulled.
async fn pulled(client: &Client, container: Option<Uuid>) -> Option<String> {
    let request = Request::get(&["containers", &container?.to_string(), "progress"]).ok()?;
    // Without an answer there are other words for what goes on.
    in_words(&client.typed(request).await.ok()?)
}

fn in_words(progress: &LaunchProgress) -> Option<String> {
    let image = progress.image.as_deref().filter(|_| progress.step == LaunchStep::Pulling)?;
    let far = match (progress.percent, progress.of) {
        (Some(percent), Some(of)) => format!(": {percent} % of {}", bytes(of)),
        _ => String::new(),
    };
    Some(format!("pulling {}{far}", plain(image)))
}

#[cfg(test)]
mod tests {
    use super::in_words;

    #[test]
    fn a_pull_is_told_with_its_percentage_once_its_size_is_known() {
        let told = |text| in_words(&serde_json::from_str(text).ok()?);
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
