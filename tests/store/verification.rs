//! Verification: every alteration of the file is found, and the first commit that fails is named.

use crate::store::events::*;
use kdaemon::store::prelude::*;
use kdaemon::store::{Body, Commit, Head, SqliteStore, StoreError, verify_file};
use kdaemon::verify::{Expectation, Verification, VerifyLog as _, verify_log};
use kdaemon_events::{CommitId, Salt, Seq};
use kdaemon_testing::MemoryStore;
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::Path;

/// A cleanly closed folder with a log of five commits of one event each, one of three events and one of one event.
/// Returns all heads of the log in order.
async fn written() -> (tempfile::TempDir, Vec<Head>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let mut heads = vec![];
    let several = vec![migration(1, 1), observed(1), cordoned(2)];
    let contents = (0..5).map(|number| vec![token(&format!("t{number}"))]);
    for events in contents.chain([several, vec![token("last")]]) {
        let head = heads.last().copied().unwrap_or_default();
        heads.push(store.append(&head, commit(&head, events)).await.unwrap());
    }
    store.close().await;
    (folder, heads)
}

fn file(folder: &Path) -> std::path::PathBuf {
    folder.join("kdaemon.db")
}

fn damage(folder: &Path, sql: &str) {
    let connection = Connection::open(file(folder)).unwrap();
    let tables = folder.join("tables.db");
    connection.execute("ATTACH ?1 AS derived", [tables.to_string_lossy()]).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn look(folder: &Path, expectation: Option<Expectation>) -> Result<Verification, StoreError> {
    verify_file(&file(folder), expectation, |_, _| {})
}

/// Verifies the log through an open store.
async fn ask(folder: &Path) -> Result<Verification, StoreError> {
    let store = SqliteStore::open(folder)?;
    let found = verify_log(&store, None, |_| {}).await;
    store.close().await;
    found
}

fn expected(head: &Head) -> Expectation {
    Expectation { seq: head.seq, root: head.root }
}

#[tokio::test]
async fn untouched_log_passes_and_reports_its_head() {
    let (folder, heads) = written().await;
    let head = heads.last().unwrap();
    for found in [look(folder.path(), None), ask(folder.path()).await] {
        let found = found.unwrap();
        assert_eq!((found.ok, found.events, found.commits), (true, 9, 7));
        assert_eq!((found.head.seq, found.head.root), (head.seq, head.root));
        assert_eq!(found.trouble(), None);
    }
    for head in &heads {
        assert!(
            look(folder.path(), Some(expected(head))).unwrap().ok,
            "an expectation may be any earlier head"
        );
    }
}

/// An alteration of the log, the first commit that fails, and a part of its detail.
const TAMPERING: &[(&str, u64, &str)] = &[
    // Changed.
    (
        "UPDATE events SET json = replace(json, '\"t2\"', '\"t9\"') WHERE seq = 3",
        3,
        "does not have the recorded root",
    ),
    ("UPDATE events SET json = json || ' ' WHERE seq = 1", 1, "does not have the recorded root"),
    ("UPDATE events SET json = '{}' WHERE seq = 7", 6, "event 7: "),
    ("UPDATE events SET salt = zeroblob(16) WHERE seq = 4", 4, "does not have the recorded root"),
    ("UPDATE events SET salt = zeroblob(15) WHERE seq = 4", 4, "event 4 has values of other types"),
    (
        "UPDATE events SET salt = (SELECT salt FROM events WHERE seq = 5) WHERE seq = 4",
        4,
        "does not have the recorded root",
    ),
    ("UPDATE events SET json = CAST(json AS BLOB) WHERE seq = 7", 6, "event 7 has values of other types"),
    ("UPDATE events SET actor = 'mallory' WHERE seq = 4", 4, "event 4: its columns"),
    ("UPDATE events SET kind = 'TokenRevoked' WHERE seq = 4", 4, "event 4: its columns"),
    ("UPDATE events SET at = at + 1 WHERE seq = 8", 6, "event 8: its columns"),
    ("UPDATE events SET at = 'yesterday' WHERE seq = 8", 6, "event 8 has values of other types"),
    // Removed.
    ("DELETE FROM events WHERE seq = 1", 1, "event 1 is missing"),
    ("DELETE FROM events WHERE seq = 7", 6, "event 7 is missing"),
    ("DELETE FROM events WHERE seq = 9", 7, "event 9 is missing"),
    ("DELETE FROM events", 1, "event 1 is missing"),
    ("DELETE FROM commits WHERE number = 2", 2, "found commit 3 in its place"),
    ("DELETE FROM commits WHERE number = 1", 1, "found commit 2 in its place"),
    ("DELETE FROM commits WHERE number = 7", 7, "event 9 that belongs to no commit"),
    (
        "DELETE FROM events WHERE seq = 3; DELETE FROM commits WHERE number = 3",
        3,
        "found commit 4 in its place",
    ),
    // Inserted.
    (
        "INSERT INTO events SELECT 10, kind, at, actor, salt, json FROM events WHERE seq = 9",
        8,
        "belongs to no commit",
    ),
    (
        "INSERT INTO events SELECT 0, kind, at, actor, salt, json FROM events WHERE seq = 9",
        1,
        "found event 0 in its place",
    ),
    (
        "INSERT INTO events SELECT -7, kind, at, actor, salt, json FROM events WHERE seq = 9",
        1,
        "found event -7",
    ),
    (
        "INSERT INTO commits SELECT 0, id, first_seq, last_seq, root FROM commits WHERE number = 1",
        1,
        "found commit 0",
    ),
    (
        "INSERT INTO commits SELECT 8, id, 10, 10, root FROM commits WHERE number = 1",
        8,
        "event 10 is missing",
    ),
    (
        "INSERT INTO commits SELECT 8, id, first_seq, last_seq, root FROM commits WHERE number = 7",
        8,
        "expected 10 next",
    ),
    // Swapped: two events of different commits, and two events of one commit.
    (
        "UPDATE events SET seq = 100 WHERE seq = 2; UPDATE events SET seq = 2 WHERE seq = 3;
         UPDATE events SET seq = 3 WHERE seq = 100;",
        2,
        "event 2: its text has seq 3",
    ),
    (
        "UPDATE events SET seq = 100 WHERE seq = 6; UPDATE events SET seq = 6 WHERE seq = 7;
         UPDATE events SET seq = 7 WHERE seq = 100;",
        6,
        "event 6: its text has seq 7",
    ),
    // Rows of commits.
    (
        "UPDATE commits SET root = (SELECT root FROM commits WHERE number = 1) WHERE number = 4",
        4,
        "does not have the recorded root",
    ),
    ("UPDATE commits SET root = 'nonsense' WHERE number = 4", 4, "nonsense"),
    ("UPDATE commits SET root = x'00' WHERE number = 7", 7, "other types"),
    (
        "UPDATE commits SET id = (SELECT id FROM commits WHERE number = 1) WHERE number = 4",
        4,
        "does not have the recorded root",
    ),
    (
        "UPDATE commits SET id = (SELECT id FROM commits WHERE number = 3) WHERE number = 4",
        4,
        "one commit was split in two",
    ),
    ("UPDATE commits SET id = 'me' WHERE number = 4", 4, "invalid commit id `me`"),
    ("UPDATE commits SET first_seq = 5 WHERE number = 6", 6, "claims events 5 to 8, expected 6 next"),
    ("UPDATE commits SET last_seq = 7 WHERE number = 6", 6, "does not have the recorded root"),
    ("UPDATE commits SET last_seq = 9223372036854775807 WHERE number = 2", 2, "is missing"),
    ("UPDATE commits SET number = 77 WHERE number = 7", 7, "found commit 77 in its place"),
];

#[tokio::test]
async fn every_alteration_is_found_and_its_first_commit_is_named() {
    for (sql, commit, words) in TAMPERING {
        let (folder, heads) = written().await;
        damage(folder.path(), sql);
        let found = look(folder.path(), None).unwrap();
        let bad = found.first_bad.clone().unwrap_or_else(|| panic!("{sql}: {found:?}"));
        assert!(!found.ok);
        assert_eq!(bad.commit, *commit, "{sql}: {bad:?}");
        assert!(bad.detail.contains(words), "{sql}: {bad:?}");
        // The commits before it pass, and are reported.
        let before = usize::try_from(*commit).unwrap() - 1;
        let head = before.checked_sub(1).map_or(Head::default(), |last| heads[last]);
        assert_eq!((found.commits, found.events), (head.commits, head.seq.0), "{sql}");
        assert_eq!(found.head.root, head.root, "{sql}");
        let trouble = found.trouble().unwrap();
        assert!(trouble.contains(&format!("commit {commit} ")), "{trouble}");
        // An open store reports the same, unless it refuses to open such a log.
        match ask(folder.path()).await {
            Ok(asked) => assert_eq!(asked.first_bad, Some(bad), "{sql}"),
            Err(error) => assert!(!matches!(error, StoreError::InUse(_)), "{sql}: {error}"),
        }
    }
}

#[tokio::test]
async fn truncated_log_contradicts_a_kept_head() {
    let (folder, heads) = written().await;
    damage(folder.path(), "DELETE FROM commits WHERE number >= 6; DELETE FROM events WHERE seq >= 6");
    assert!(look(folder.path(), None).unwrap().ok, "the rest is valid by itself");
    assert!(look(folder.path(), Some(expected(&heads[4]))).unwrap().ok);
    let found = look(folder.path(), Some(expected(&heads[6]))).unwrap();
    assert!(!found.ok && found.first_bad.is_none());
    assert!(found.trouble().unwrap().contains("the log ends at event 5, expected 9 or more"), "{found:?}");
}

#[tokio::test]
async fn rewritten_log_contradicts_a_kept_head() {
    let (_, heads) = written().await;
    let (other, _) = written().await; // the same events with other ids
    let found = look(other.path(), Some(expected(&heads[2]))).unwrap();
    assert!(found.trouble().unwrap().contains("up to event 3 the root of the tree is"), "{found:?}");
    // An expectation need not be the end of a commit: the tree has a root after every event.
    let inside = Expectation { seq: Seq(7), root: heads[5].root };
    let found = look(other.path(), Some(inside)).unwrap();
    assert!(found.trouble().unwrap().contains("up to event 7 the root of the tree is"), "{found:?}");
}

#[test]
fn expectation_parses_from_seq_and_root() {
    let root = "0123456789abcdef".repeat(4);
    let read: Expectation = format!("12:{root}").parse().unwrap();
    assert_eq!((read.seq, read.root.to_string()), (Seq(12), root.clone()));
    let long = format!("18446744073709551616:{root}");
    for bad in
        ["", "12", ":", &root, &format!("0:{root}"), &format!("-1:{root}"), &format!("+1:{root}"), &long]
    {
        assert!(bad.parse::<Expectation>().is_err(), "{bad}");
    }
    for bad in ["12:", "12:abc", &format!("12:{root}0"), &format!("12:{}", "g".repeat(64))] {
        assert!(bad.parse::<Expectation>().unwrap_err().contains("64 hexadecimal digits"), "{bad}");
    }
}

#[tokio::test]
async fn altered_index_is_found() {
    for sql in [
        "INSERT INTO event_index SELECT id, 4 FROM terms WHERE term = 'NodeObserved'",
        "DELETE FROM event_index WHERE seq = 6",
        "DELETE FROM event_index WHERE term = (SELECT id FROM terms WHERE term = 'NodeObserved')",
        "UPDATE event_index SET seq = 8 WHERE term = (SELECT id FROM terms WHERE term = 'NodeObserved')",
        "UPDATE terms SET term = 'NodeHealthy' WHERE term = 'NodeObserved'",
        "DELETE FROM terms WHERE term = 'NodeObserved'",
    ] {
        let (folder, _) = written().await;
        damage(folder.path(), sql);
        let found = ask(folder.path()).await.unwrap();
        assert!(!found.ok && found.first_bad.is_none(), "{sql}: {found:?}");
        assert!(found.trouble().unwrap().contains("the log is intact, but its index"), "{sql}: {found:?}");
        // The index is derived: without it, the log passes.
        std::fs::remove_file(folder.path().join("tables.db")).unwrap();
        assert!(ask(folder.path()).await.unwrap().ok);
    }
}

#[tokio::test]
async fn event_of_a_newer_kdaemon_passes() {
    let store = MemoryStore::new();
    let mut events = commit(&Head::default(), vec![token("a")]).events;
    let json = events[0].body.json().unwrap().replace("\"v\":1", "\"v\":99");
    events[0].body = Body::Kept { json, salt: Salt::default() };
    let newer = Commit { id: CommitId(uuid::Uuid::new_v4()), events, idempotency: Vec::new() };
    let head = store.append(&Head::default(), newer).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_reads_page_by_page_while_appends_continue() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let mut head = Head::default();
    for _ in 0..30 {
        let events = (0..500).map(|number| token(&format!("t{number}"))).collect();
        head = store.append(&head, commit(&head, events)).await.unwrap();
    }
    let store = std::sync::Arc::new(store);
    let appended = {
        let (store, mut head) = (std::sync::Arc::clone(&store), head);
        tokio::spawn(async move {
            for number in 0..200 {
                head = store.append(&head, commit(&head, vec![token(&format!("m{number}"))])).await.unwrap();
            }
            head
        })
    };
    let mut pages = Vec::new();
    let found = verify_log(store.as_ref(), None, |seq| pages.push(seq)).await.unwrap();
    assert!(found.ok && found.events >= 15_000, "{found:?}");
    assert!(pages.len() >= 3 && pages.is_sorted(), "{pages:?}");
    let head = appended.await.unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
    store.close().await;
}

/// The range of an event's kind, time, actor, salt and text in the file, in the order in which SQLite stores a row
/// (<https://sqlite.org/fileformat2.html#record_format>).
fn place_of(bytes: &[u8], json: &str, kind: &str, actor: &str) -> std::ops::Range<usize> {
    let found = bytes
        .windows(json.len())
        .position(|window| window == json.as_bytes())
        .expect("the text is contiguous");
    found - 16 - actor.len() - 8 - kind.len()..found + json.len()
}

#[test]
fn flipped_bit_of_any_event_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (folder, _) = runtime.block_on(written());
    let rows: Vec<(String, String, String)> = {
        let connection = Connection::open(file(folder.path())).unwrap();
        let mut statement = connection.prepare("SELECT json, kind, actor FROM events ORDER BY seq").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let whole = std::fs::read(file(folder.path())).unwrap();
    assert!(look(folder.path(), None).unwrap().ok);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_000)
    });
    runner
        .run(&(0..rows.len(), any::<prop::sample::Index>(), 0..8_u32), |(row, at, bit)| {
            let (json, kind, actor) = &rows[row];
            let place = place_of(&whole, json, kind, actor);
            let at = place.start + at.index(place.len());
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            std::fs::write(file(folder.path()), &bytes).unwrap();
            match look(folder.path(), None) {
                Ok(found) => {
                    prop_assert!(!found.ok, "byte {} of event {}", at - place.start, row + 1);
                    let commit = [1, 2, 3, 4, 5, 6, 6, 6, 7][row];
                    prop_assert_eq!(found.first_bad.map(|bad| bad.commit), Some(commit));
                }
                Err(error) => prop_assert!(matches!(error, StoreError::Damaged(_)), "{}", error),
            }
            Ok(())
        })
        .unwrap();
}
