//! Export and import: logs are moved byte for byte, and checked on import.

use crate::store::events::*;
use crate::support::rethinkdb::{Rethinkdb, forget, settings};
use kdaemon::archive::{ArchiveError, export, import};
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, Head, IdempotencyRecord, RawPosition, RethinkdbStore, SqliteStore};
use kdaemon::verify::Expectation;
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::{Digest, Seq};
use kdaemon_testing::MemoryStore;

/// A log with commits of all sizes, odd texts and idempotency records.
async fn varied(store: &dyn Store) -> Head {
    let mut head = Head::default();
    for size in [1, 2, 1_000, 1, 40] {
        let mut events = vec![token("$reql_type$ \u{1F980} \"'\n"), migration(1, 2), observed(3)];
        events.truncate(size);
        events.resize(size, cordoned(4));
        let commit = commit(&head, events);
        let idempotency = vec![IdempotencyRecord {
            seq: head.seq.next(),
            ..record(&format!("k{size}"), at(10), "{\"a\": 1}")
        }];
        head = store.append(&head, Commit { idempotency, ..commit }).await.unwrap();
    }
    head
}

async fn exported(store: &dyn Store) -> Vec<u8> {
    let mut out = Vec::new();
    let mut told = Vec::new();
    let head = export(store, &mut out, at(0), &mut |_, done| told.push(done)).await.unwrap();
    assert_eq!(told.last().copied().unwrap_or_default(), head.seq);
    out
}

async fn imported(store: &dyn Store, mut file: &[u8]) -> Result<Head, ArchiveError> {
    import(store, &mut file, None, &mut |_, _| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn log_moves_between_stores_byte_for_byte() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = SqliteStore::open(folder.path()).unwrap();
    let head = varied(&embedded).await;
    let file = exported(&embedded).await;
    let memory = MemoryStore::new();
    assert_eq!(imported(&memory, &file).await.unwrap(), head);
    assert_eq!(exported(&memory).await, file);
}

#[test]
pub(crate) fn pruned_events_are_moved_as_their_digests() {
    let (file, head) = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let source = MemoryStore::new();
        let head = crate::store::pruning::written(&source).await;
        crate::store::pruning::prune_all(&source, &crate::store::pruning::RANGES).await;
        (exported(&source).await, head)
    });
    crate::store::contract::every_store(|store| {
        let file = file.clone();
        async move {
            assert_eq!(imported(&*store, &file).await.unwrap(), head);
            assert_eq!(store.verify().await.unwrap(), head);
            assert_eq!(store.pruned(Seq(1), Seq(9)).await.unwrap(), 4);
            assert_eq!(exported(&*store).await, file);
            assert_eq!(store.read(Seq(0), 100).await.unwrap().len(), 5);
        }
    });
}

#[tokio::test]
async fn interrupted_import_resumes() {
    let source = MemoryStore::new();
    let head = varied(&source).await;
    let file = exported(&source).await;
    let ends: Vec<_> =
        file.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i + 1).collect();
    // Cut after each line, and in the middle of each.
    for cut in ends.windows(2).flat_map(|pair| [pair[0], pair[0].midpoint(pair[1])]) {
        let target = MemoryStore::new();
        let error = imported(&target, &file[..cut]).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Line { .. }), "{error}");
        assert_eq!(imported(&target, &file).await.unwrap(), head);
        assert_eq!(exported(&target).await, file);
        assert_eq!(imported(&target, &file).await.unwrap(), head, "a repeated import has no effect");
    }
}

#[tokio::test]
async fn store_with_another_log_is_left_untouched() {
    let source = MemoryStore::new();
    varied(&source).await;
    let file = exported(&source).await;
    for commits in [1, 4, 9] {
        let other = MemoryStore::new();
        let head = fill(&other, commits).await;
        let error = imported(&other, &file).await.unwrap_err();
        assert!(error.to_string().contains("another log"), "{error}");
        assert_eq!(other.head().await.unwrap(), head);
    }
}

#[tokio::test]
async fn altered_file_is_refused_at_the_altered_commit() {
    let source = MemoryStore::new();
    fill(&source, 3).await;
    let file = String::from_utf8(exported(&source).await).unwrap();
    let lines: Vec<_> = file.lines().map(ToOwned::to_owned).collect();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        lines.join("\n")
    };
    let cases: [(&str, &str, String); 8] = [
        ("line 1", "not a log", with(&|lines| lines[0] = "{}".into())),
        (
            "line 1",
            "newer",
            with(&|lines| lines[0] = lines[0].replace("\"kdaemon_log\":2", "\"kdaemon_log\":3")),
        ),
        ("line 1", "not a log", String::new()),
        (
            "line 3",
            "does not have the recorded root",
            with(&|lines| lines[2] = lines[2].replace("\"t1\"", "\"t9\"")),
        ),
        ("line 3", "commit 2 is missing", with(&|lines| drop(lines.remove(2)))),
        ("line 3", "not a commit", with(&|lines| lines[2].truncate(100))),
        ("line 4", "was truncated", with(&|lines| drop(lines.pop()))),
        ("line 5", "more in the file", with(&|lines| lines.push("{}".into()))),
    ];
    for (line, what, file) in cases {
        let target = MemoryStore::new();
        let said = imported(&target, file.as_bytes()).await.unwrap_err().to_string();
        assert!(said.contains(line) && said.contains(what), "expected `{line}` and `{what}` in `{said}`");
        target.verify().await.unwrap();
    }
}

mod on_rethinkdb {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs a RethinkDB server: scripts/test"]
    async fn log_moves_to_rethinkdb_and_back_byte_for_byte() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let embedded = SqliteStore::open(folders[0].path()).unwrap();
        let head = varied(&embedded).await;
        let file = exported(&embedded).await;
        let server = Rethinkdb::get();
        let settings = settings(server.address());
        let rethinkdb = RethinkdbStore::open(settings.clone()).await.unwrap();
        assert_eq!(imported(&rethinkdb, &file).await.unwrap(), head);
        assert_eq!(rethinkdb.verify().await.unwrap(), head);
        assert_eq!(exported(&rethinkdb).await, file);
        let back = SqliteStore::open(folders[1].path()).unwrap();
        assert_eq!(imported(&back, &exported(&rethinkdb).await).await.unwrap(), head);
        assert_eq!(back.verify().await.unwrap(), head);
        assert_eq!(exported(&back).await, file);
        let raw = async |store: &dyn Store| store.raw_commits(RawPosition::START).await.unwrap();
        assert_eq!(raw(&back).await, raw(&embedded).await);
        assert_eq!(back.read(Seq(0), 10_000).await.unwrap(), embedded.read(Seq(0), 10_000).await.unwrap());
        forget(&settings).await;
    }
}

#[tokio::test]
async fn import_stops_before_the_commit_that_contradicts_the_expected_head() {
    let source = MemoryStore::new();
    let first = fill(&source, 1).await;
    let head = fill(&source, 2).await;
    let file = exported(&source).await;
    let expecting = async |seq: Seq, root: Digest| {
        let target = MemoryStore::new();
        let outcome = import(&target, &mut &file[..], Some(Expectation { seq, root }), &mut |_, _| {}).await;
        (outcome, target.head().await.unwrap())
    };
    for expected in [first, head] {
        let (outcome, there) = expecting(expected.seq, expected.root).await;
        assert_eq!((outcome.unwrap(), there), (head, head));
    }
    let (outcome, there) = expecting(Seq(2), head.root).await;
    assert!(outcome.unwrap_err().to_string().contains("up to event 2 the root of the tree is"));
    assert_eq!(there, first);
    let (outcome, there) = expecting(Seq(4), head.root).await;
    assert!(outcome.unwrap_err().to_string().contains("the file has 3 events, expected 4 or more"));
    assert_eq!(there, Head::default());
}

#[tokio::test]
async fn pruned_fact_is_not_imported() {
    let source = MemoryStore::new();
    crate::store::pruning::written(&source).await;
    crate::store::pruning::prune_all(&source, &crate::store::pruning::RANGES).await;
    let file = String::from_utf8(exported(&source).await).unwrap();
    let forged = file.replacen("\"kind\":\"NodeObserved\",\"at\"", "\"kind\":\"NodeCordoned\",\"at\"", 1);
    assert_ne!(forged, file);
    let refused = imported(&MemoryStore::new(), forged.as_bytes()).await.unwrap_err().to_string();
    assert!(refused.contains("it is a NodeCordoned, which is never pruned"), "{refused}");
}
