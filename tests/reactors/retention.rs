//! Retention of records that are kept for a limited time.

use crate::reactors::harness::{World, forever};
use chrono::{DateTime, Utc};
use kdaemon::journal::{IdempotencyKey, Submission};
use kdaemon::store::prelude::*;
use kdaemon_control::commands::{Command, CreateApplication};
use kdaemon_events::{Actor, Seq, UpdatePolicy};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test(start_paused = true)]
async fn idempotency_records_expire_after_a_day() {
    let mut world = World::empty().await;
    world.settings.observation_retention = Some(24 * HOUR);
    world.crash_and_restart().await;
    let key = IdempotencyKey { key: "k".to_owned(), fingerprint: "create web".to_owned() };
    let command = Command::CreateApplication(CreateApplication {
        name: "web".to_owned(),
        user_id: None,
        spec: forever(),
        is_enabled: true,
        affinity: Vec::new(),
        dependencies: Vec::new(),
        replicas: None,
        update_policy: UpdatePolicy::Manual,
        update: kdaemon_events::application::UpdateSettings::default(),
    });
    let submission = Submission { idempotency: Some(key), ..Submission::new(command, Actor::Anonymous) };
    world.journal.submit(submission).await.unwrap();
    let kept =
        async || world.store.idempotency_records(DateTime::<Utc>::UNIX_EPOCH, Seq(0)).await.unwrap().len();
    tokio::time::sleep(23 * HOUR).await;
    assert_eq!(kept().await, 1, "it is given to who asks again");
    tokio::time::sleep(3 * HOUR).await;
    assert_eq!(kept().await, 0);
}
