//! The proof: whatever is done to a log behind the daemon's back is found, and the first commit that does not fit is named.

use crate::store::events::*;
use kdaemon::store::prelude::*;
use kdaemon::store::{Body, Commit, Head, SqliteStore, StoreError, verify_file};
use kdaemon::verify::{Expectation, Verification, VerifyLog as _, verify_log};
use kdaemon_events::{CommitId, Salt, Seq};
use kdaemon_testing::MemoryStore;
use proptest::prelude::*;
use rusqlite::Connection;
use std::path::Path;

/// A folder with a log of 5 commits of one event each, a sixth of three events, a seventh of one; closed in good order.
/// Every head that it had is given, the first one first.
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

/// What a store says that the daemon has open.
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
async fn an_untouched_log_is_whole_and_its_head_is_given() {
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
            "each root that was ever the head's is checked"
        );
    }
}

/// What is done to the log; the first commit that does not fit, and words of what is said of it.
const TAMPERING: &[(&str, u64, &str)] = &[
    // Changed.
    ("UPDATE events SET json = replace(json, '\"t2\"', '\"t9\"') WHERE seq = 3", 3, "does not have its root"),
    ("UPDATE events SET json = json || ' ' WHERE seq = 1", 1, "does not have its root"),
    ("UPDATE events SET json = '{}' WHERE seq = 7", 6, "event 7: "),
    ("UPDATE events SET salt = zeroblob(16) WHERE seq = 4", 4, "does not have its root"),
    ("UPDATE events SET salt = zeroblob(15) WHERE seq = 4", 4, "event 4 has values of other types"),
    (
        "UPDATE events SET salt = (SELECT salt FROM events WHERE seq = 5) WHERE seq = 4",
        4,
        "does not have its root",
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
    ("DELETE FROM commits WHERE number = 2", 2, "commit 3 comes in its place"),
    ("DELETE FROM commits WHERE number = 1", 1, "commit 2 comes in its place"),
    ("DELETE FROM commits WHERE number = 7", 7, "event 9 that belongs to no commit"),
    (
        "DELETE FROM events WHERE seq = 3; DELETE FROM commits WHERE number = 3",
        3,
        "commit 4 comes in its place",
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
        "event 0 comes in its place",
    ),
    (
        "INSERT INTO events SELECT -7, kind, at, actor, salt, json FROM events WHERE seq = 9",
        1,
        "event -7 comes",
    ),
    (
        "INSERT INTO commits SELECT 0, id, first_seq, last_seq, root FROM commits WHERE number = 1",
        1,
        "commit 0 comes",
    ),
    (
        "INSERT INTO commits SELECT 8, id, 10, 10, root FROM commits WHERE number = 1",
        8,
        "event 10 is missing",
    ),
    (
        "INSERT INTO commits SELECT 8, id, first_seq, last_seq, root FROM commits WHERE number = 7",
        8,
        "10 comes next",
    ),
    // Swapped: two events of two commits, and two of one commit.
    (
        "UPDATE events SET seq = 100 WHERE seq = 2; UPDATE events SET seq = 2 WHERE seq = 3;
         UPDATE events SET seq = 3 WHERE seq = 100;",
        2,
        "event 2: it says that it is event 3",
    ),
    (
        "UPDATE events SET seq = 100 WHERE seq = 6; UPDATE events SET seq = 6 WHERE seq = 7;
         UPDATE events SET seq = 7 WHERE seq = 100;",
        6,
        "event 6: it says that it is event 7",
    ),
    // Rows of commits.
    (
        "UPDATE commits SET root = (SELECT root FROM commits WHERE number = 1) WHERE number = 4",
        4,
        "does not have its root",
    ),
    ("UPDATE commits SET root = 'nonsense' WHERE number = 4", 4, "nonsense"),
    ("UPDATE commits SET root = x'00' WHERE number = 7", 7, "other types"),
    (
        "UPDATE commits SET id = (SELECT id FROM commits WHERE number = 1) WHERE number = 4",
        4,
        "does not have its root",
    ),
    (
        "UPDATE commits SET id = (SELECT id FROM commits WHERE number = 3) WHERE number = 4",
        4,
        "one commit was split in two",
    ),
    ("UPDATE commits SET id = 'me' WHERE number = 4", 4, "`me` is no identity"),
    ("UPDATE commits SET first_seq = 5 WHERE number = 6", 6, "claims events 5 to 8, and 6 comes next"),
    ("UPDATE commits SET last_seq = 7 WHERE number = 6", 6, "does not have its root"),
    ("UPDATE commits SET last_seq = 9223372036854775807 WHERE number = 2", 2, "is missing"),
    ("UPDATE commits SET number = 77 WHERE number = 7", 7, "commit 77 comes in its place"),
];

#[tokio::test]
async fn whatever_is_done_to_the_log_is_found_and_the_first_bad_commit_is_named() {
    for (sql, commit, words) in TAMPERING {
        let (folder, heads) = written().await;
        damage(folder.path(), sql);
        let found = look(folder.path(), None).unwrap();
        let bad = found.first_bad.clone().unwrap_or_else(|| panic!("{sql}: {found:?}"));
        assert!(!found.ok);
        assert_eq!(bad.commit, *commit, "{sql}: {bad:?}");
        assert!(bad.detail.contains(words), "{sql}: {bad:?}");
        // What comes before it is good, and said to be.
        let before = usize::try_from(*commit).unwrap() - 1;
        let head = before.checked_sub(1).map_or(Head::default(), |last| heads[last]);
        assert_eq!((found.commits, found.events), (head.commits, head.seq.0), "{sql}");
        assert_eq!(found.head.root, head.root, "{sql}");
        let trouble = found.trouble().unwrap();
        assert!(trouble.contains(&format!("commit {commit} ")), "{trouble}");
        // A daemon that has it open says the same, unless it refused to open such a log in the first place.
        match ask(folder.path()).await {
            Ok(asked) => assert_eq!(asked.first_bad, Some(bad), "{sql}"),
            Err(error) => assert!(!matches!(error, StoreError::InUse(_)), "{sql}: {error}"),
        }
    }
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found_by_what_was_kept_elsewhere() {
    let (folder, heads) = written().await;
    damage(folder.path(), "DELETE FROM commits WHERE number >= 6; DELETE FROM events WHERE seq >= 6");
    assert!(look(folder.path(), None).unwrap().ok, "what is left is whole by itself");
    assert!(look(folder.path(), Some(expected(&heads[4]))).unwrap().ok);
    let found = look(folder.path(), Some(expected(&heads[6]))).unwrap();
    assert!(!found.ok && found.first_bad.is_none());
    assert!(found.trouble().unwrap().contains("the log ends at event 5, expected 9 or more"), "{found:?}");
}

#[tokio::test]
async fn a_log_that_was_written_anew_is_found_by_what_was_kept_elsewhere() {
    let (_, heads) = written().await;
    let (other, _) = written().await; // the same events, but for their ids
    let found = look(other.path(), Some(expected(&heads[2]))).unwrap();
    assert!(found.trouble().unwrap().contains("up to event 3 the root of the tree is"), "{found:?}");
    // An expectation need not be the end of a commit: the tree has a root after every event.
    let inside = Expectation { seq: Seq(7), root: heads[5].root };
    let found = look(other.path(), Some(inside)).unwrap();
    assert!(found.trouble().unwrap().contains("up to event 7 the root of the tree is"), "{found:?}");
}

#[test]
fn an_expectation_is_a_seq_and_a_root() {
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
async fn the_index_is_compared_with_the_log() {
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
        assert!(found.trouble().unwrap().contains("the log is whole, but the index"), "{sql}: {found:?}");
        // It is derived: without it there is nothing wrong.
        std::fs::remove_file(folder.path().join("tables.db")).unwrap();
        assert!(ask(folder.path()).await.unwrap().ok);
    }
}

#[tokio::test]
async fn an_event_of_a_newer_kdaemon_is_no_damage() {
    let store = MemoryStore::new();
    let mut events = commit(&Head::default(), vec![token("a")]).events;
    let json = events[0].body.json().unwrap().replace("\"v\":1", "\"v\":99");
    events[0].body = Body::Kept { json, salt: Salt::default() };
    let newer = Commit { id: CommitId(uuid::Uuid::new_v4()), events, idempotency: Vec::new() };
    let head = store.append(&Head::default(), newer).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_written_meanwhile_is_verified_page_by_page_and_nobody_waits() {
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

/// Where an event's kind, time, actor, salt and text stand in the file, one after the other as SQLite keeps a row
/// (<https://sqlite.org/fileformat2.html#record_format>).
fn place_of(bytes: &[u8], json: &str, kind: &str, actor: &str) -> std::ops::Range<usize> {
    let found =
        bytes.windows(json.len()).position(|window| window == json.as_bytes()).expect("it is in one piece");
    found - 16 - actor.len() - 8 - kind.len()..found + json.len()
}

#[test]
fn any_bit_of_any_event_that_is_turned_over_in_the_file_is_found() {
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
