//! Proofs, compared with a literal implementation of RFC 6962, section 2.1.

use crate::store::contract::every_store;
use crate::store::events::*;
use kdaemon::proof::{ProofError, consistency, inclusion};
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, Head};
use kdaemon_events::{Digest, Seq, interior};
use kdaemon_testing::MemoryStore;
use proptest::prelude::*;

/// The largest power of two smaller than `n`.
fn k(n: usize) -> usize {
    1 << (n - 1).ilog2()
}

/// MTH(D[n]).
fn mth(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(k(leaves.len()));
            interior(mth(left), mth(right))
        }
    }
}

/// PATH(m, D[n]).
fn path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut inner, sibling) =
        if m < k { (path(m, left), mth(right)) } else { (path(m - k, right), mth(left)) };
    inner.push(sibling);
    inner
}

/// SUBPROOF(m, D[n], b); PROOF(m, D[n]) is SUBPROOF(m, D[n], true).
fn subproof(m: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
    if m == leaves.len() {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = k(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut inner, sibling) = if m <= k {
        (subproof(m, left, whole), mth(right))
    } else {
        (subproof(m - k, right, false), mth(left))
    };
    inner.push(sibling);
    inner
}

/// Appends commits of these sizes; returns the leaves of the log.
async fn filled(store: &dyn Store, sizes: &[usize]) -> Vec<Digest> {
    let (mut head, mut leaves) = (Head::default(), Vec::new());
    for size in sizes {
        let commit: Commit = commit(&head, vec![observed(1); *size]);
        leaves.extend(commit.events.iter().map(|event| event.leaf(commit.id)));
        head = store.append(&head, commit).await.unwrap();
    }
    assert_eq!(head.root, mth(&leaves));
    leaves
}

async fn check_inclusion(store: &dyn Store, leaves: &[Digest], seq: usize, size: usize) {
    let proof = inclusion(store, Seq(seq as u64), size as u64).await.unwrap();
    assert_eq!(proof.leaf, leaves[seq - 1], "{seq} of {size}");
    assert_eq!(proof.path, path(seq - 1, &leaves[..size]), "{seq} of {size}");
    assert_eq!(proof.root, mth(&leaves[..size]), "{seq} of {size}");
}

async fn check_consistency(store: &dyn Store, leaves: &[Digest], from: usize, to: usize) {
    let proof = consistency(store, from as u64, to as u64).await.unwrap();
    assert_eq!(proof.path, subproof(from, &leaves[..to], true), "{from} to {to}");
    assert_eq!(proof.from_root, mth(&leaves[..from]), "{from} to {to}");
    assert_eq!(proof.to_root, mth(&leaves[..to]), "{from} to {to}");
}

#[test]
fn every_proof_of_a_small_log_matches_the_rfc() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new();
        let leaves = filled(&store, &[1, 2, 3, 1, 1, 6]).await;
        for size in 1..=leaves.len() {
            for seq in 1..=size {
                check_inclusion(&store, &leaves, seq, size).await;
                check_consistency(&store, &leaves, seq, size).await;
            }
        }
    });
}

#[test]
fn proofs_from_stored_subtrees_match_the_rfc() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = MemoryStore::new();
    let leaves = runtime.block_on(filled(&store, &[300, 1, 500, 7, 900]));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    });
    runner
        .run(&(any::<prop::sample::Index>(), any::<prop::sample::Index>()), |(size, seq)| {
            let size = size.index(leaves.len()) + 1;
            let seq = seq.index(size) + 1;
            runtime.block_on(check_inclusion(&store, &leaves, seq, size));
            runtime.block_on(check_consistency(&store, &leaves, seq, size));
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_store_proves_kept_and_pruned_events() {
    every_store(async |store| {
        let leaves = filled(&*store, &[100, 255, 1, 200, 44]).await;
        let cases = [(1, 600), (256, 256), (257, 600), (356, 512), (600, 600), (512, 513)];
        for (seq, size) in cases {
            check_inclusion(&*store, &leaves, seq, size).await;
            check_consistency(&*store, &leaves, seq, size).await;
        }
        crate::store::pruning::prune_all(&*store, &[(Seq(1), Seq(600))]).await;
        for (seq, size) in cases {
            check_inclusion(&*store, &leaves, seq, size).await;
            check_consistency(&*store, &leaves, seq, size).await;
        }
    });
}

#[tokio::test]
async fn events_beyond_the_log_have_no_proof() {
    let store = MemoryStore::new();
    filled(&store, &[3]).await;
    for (seq, size, field) in [(0, 3, "seq"), (4, 3, "seq"), (3, 2, "seq"), (1, 4, "size"), (1, 0, "size")] {
        let refused = inclusion(&store, Seq(seq), size).await.unwrap_err();
        assert!(matches!(refused, ProofError::OutOfRange { field: is, .. } if is == field), "{refused:?}");
    }
    for (from, to, field) in [(0, 3, "from"), (4, 3, "from"), (1, 4, "to"), (0, 0, "to")] {
        let refused = consistency(&store, from, to).await.unwrap_err();
        assert!(matches!(refused, ProofError::OutOfRange { field: is, .. } if is == field), "{refused:?}");
    }
}
