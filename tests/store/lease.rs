//! The lease and waiting for commits. Each test runs against each store.

use crate::store::contract::every_store;
use crate::store::events::*;
use kdaemon::store::{Head, Lease};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

fn lease(holder: u128, version: u64) -> Lease {
    Lease { holder: Uuid::from_u128(holder), name: format!("daemon-{holder}"), term: 1, version }
}

#[test]
pub(crate) fn first_writer_gets_the_lease() {
    every_store(async |store| {
        assert_eq!(store.lease().await.unwrap(), None);
        assert!(!store.write_lease(1, lease(1, 2)).await.unwrap(), "no lease has version 1");
        assert!(store.write_lease(0, lease(1, 1)).await.unwrap());
        assert_eq!(store.lease().await.unwrap(), Some(lease(1, 1)));
        assert!(!store.write_lease(0, lease(2, 1)).await.unwrap(), "a lease exists");
        assert!(store.write_lease(1, lease(1, 2)).await.unwrap(), "renewed");
        assert!(!store.write_lease(1, lease(2, 2)).await.unwrap(), "the lease was renewed meanwhile");
        assert!(store.write_lease(2, lease(2, 3)).await.unwrap(), "taken over");
        assert!(!store.write_lease(2, lease(1, 3)).await.unwrap(), "the former holder is too late");
        assert_eq!(store.lease().await.unwrap(), Some(lease(2, 3)));
    });
}

#[test]
pub(crate) fn each_lease_version_has_one_winner() {
    every_store(async |store| {
        let tasks: Vec<_> = (1..=6)
            .map(|holder| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let mut won = Vec::new();
                    loop {
                        let version = store.lease().await.unwrap().map_or(0, |lease| lease.version);
                        if version >= 30 {
                            return won;
                        }
                        if store.write_lease(version, lease(holder, version + 1)).await.unwrap() {
                            won.push(version + 1);
                        }
                    }
                })
            })
            .collect();
        let mut won = Vec::new();
        for task in tasks {
            won.extend(task.await.unwrap());
        }
        won.sort_unstable();
        assert!(won.iter().copied().eq(1..=won.len() as u64), "{won:?}");
        assert!(won.len() >= 30);
    });
}

#[test]
pub(crate) fn waiting_for_a_commit_ends_with_the_commit_or_the_timeout() {
    every_store(async |store| {
        let head = fill(&*store, 2).await;
        store.wait_for_commit(&Head::default(), Duration::from_secs(60)).await.unwrap();
        let begun = Instant::now();
        store.wait_for_commit(&head, Duration::from_millis(100)).await.unwrap();
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(100) && waited < Duration::from_secs(5), "{waited:?}");
        let waiting = {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.wait_for_commit(&head, Duration::from_secs(60)).await.unwrap();
                store.head().await.unwrap()
            })
        };
        let next = fill(&*store, 1).await;
        assert_eq!(waiting.await.unwrap(), next);
    });
}
