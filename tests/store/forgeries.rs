//! Forgeries by an attacker who knows the format: rows of the file are altered, and hashes recomputed where that helps.
//! Verification finds each of them, by the log alone or with a kept head.

use crate::store::events::*;
use crate::store::pruning::{RANGES, prune_all, pruned};
use kdaemon::store::prelude::*;
use kdaemon::store::{Head, SqliteStore, verify_file};
use kdaemon::verify::{Expectation, Verification, VerifyLog as _};
use kdaemon_events::{CommitId, Digest, Frontier, LeafHeader, Salt, Seq, content_digest};
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

fn file(folder: &Path) -> PathBuf {
    folder.join("kdaemon.db")
}

fn look(folder: &Path, expectation: Option<Expectation>) -> Verification {
    verify_file(&file(folder), expectation, |_, _| {}).unwrap()
}

/// Recomputes the roots of all commits and the stored subtrees from the rows in the file.
fn rehash(connection: &Connection) {
    let (mut tree, mut nodes) = (Frontier::default(), Vec::new());
    let mut commits =
        connection.prepare("SELECT number, id, first_seq, last_seq FROM commits ORDER BY number").unwrap();
    let commits =
        commits.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap();
    let commits: Vec<(i64, String, i64, i64)> = commits.map(Result::unwrap).collect();
    for (number, id, first, last) in commits {
        let commit: CommitId = id.parse().unwrap();
        for seq in first..=last {
            let kept = "SELECT kind, at, actor, salt, json FROM events WHERE seq = ?1";
            let kept = connection.query_row(kept, [seq], |row| {
                let content = content_digest(Salt(row.get(3)?), &row.get::<_, String>(4)?);
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, content))
            });
            let pruned = "SELECT kind, at, actor, content FROM pruned WHERE seq = ?1";
            let pruned = || {
                connection.query_row(pruned, [seq], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, Digest(row.get(3)?)))
                })
            };
            let (kind, at, actor, content) = kept.or_else(|_| pruned()).unwrap();
            let header = LeafHeader { seq: Seq(seq.unsigned_abs()), commit, at, kind: &kind, actor: &actor };
            tree.push(header.leaf(content), &mut nodes);
        }
        connection
            .execute(
                "UPDATE commits SET root = ?1 WHERE number = ?2",
                params![tree.root().to_string(), number],
            )
            .unwrap();
    }
    connection.execute("DELETE FROM tree", []).unwrap();
    for node in nodes {
        let row = params![node.place.level, i64::try_from(node.place.number).unwrap(), node.hash.0];
        connection.execute("INSERT INTO tree (level, number, hash) VALUES (?1, ?2, ?3)", row).unwrap();
    }
}

/// Prunes an event of any kind by hand.
fn prune_by_hand(connection: &Connection, seq: i64, kind: Option<&str>) {
    let (salt, json): ([u8; 16], String) = connection
        .query_row("SELECT salt, json FROM events WHERE seq = ?1", [seq], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    connection
        .execute(
            "INSERT INTO pruned SELECT seq, coalesce(?2, kind), at, actor, ?3 FROM events WHERE seq = ?1",
            params![seq, kind, content_digest(Salt(salt), &json).0],
        )
        .unwrap();
    connection.execute("DELETE FROM events WHERE seq = ?1", [seq]).unwrap();
}

/// Appends a commit of one event by hand, without the store.
fn append_by_hand(connection: &Connection, event: kdaemon_events::Event) {
    let last: i64 = connection.query_row("SELECT max(last_seq) FROM commits", [], |row| row.get(0)).unwrap();
    let seq = Seq(u64::try_from(last).unwrap() + 1);
    let event = stored(seq, kdaemon_events::Actor::reactor("janitor"), event);
    connection
        .execute(
            "INSERT INTO events VALUES (?1, ?2, ?3, ?4, zeroblob(16), ?5)",
            params![
                last + 1,
                event.kind.as_str(),
                event.at.timestamp_micros(),
                event.actor,
                event.body.json().unwrap()
            ],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO commits SELECT max(number) + 1, ?1, ?2, ?2, '' FROM commits",
            params![uuid::Uuid::new_v4().to_string(), last + 1],
        )
        .unwrap();
}

/// The log of [`crate::store::pruning::written`], pruned, with its heads after events 3 and 9.
async fn written() -> (tempfile::TempDir, [Head; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let head = crate::store::pruning::written(&store).await;
    prune_all(&store, &RANGES).await;
    let early = store.commit_at(1).await.unwrap().unwrap();
    store.close().await;
    (folder, [early, head])
}

struct Forgery {
    name: &'static str,
    forge: fn(&Connection),
    /// A part of the failure without a kept head; `None` when the forged log is valid by itself.
    alone: Option<&'static str>,
}

const fn found(name: &'static str, forge: fn(&Connection), alone: &'static str) -> Forgery {
    Forgery { name, forge, alone: Some(alone) }
}

fn sql(connection: &Connection, sql: &str) {
    connection.execute_batch(sql).unwrap();
}

const FORGERIES: &[Forgery] = &[
    // Pruned events. The log: token 1, observed 2 3, cordoned 4, observed 5 6 7, pruned 8 (names 2-3 and 5-6), token 9.
    found(
        "an observation is pruned that no event names",
        |it| prune_by_hand(it, 7, None),
        "events 7 to 7 were removed",
    ),
    found("a fact is pruned", |it| prune_by_hand(it, 4, None), "it is a NodeCordoned, which is never pruned"),
    found(
        "the first fact is pruned",
        |it| prune_by_hand(it, 1, None),
        "it is a TokenCreated, which is never pruned",
    ),
    found(
        "a fact is pruned as if it were an observation",
        |it| prune_by_hand(it, 4, Some("NodeObserved")),
        "commit 2 (events 4 to 7) failed verification: the tree up to this commit does not have the recorded root",
    ),
    found(
        "a fact is pruned and a forged event names it, with all hashes recomputed",
        |it| {
            prune_by_hand(it, 4, None);
            append_by_hand(it, pruned(&[(4, 4)]));
            rehash(it);
        },
        "it is a NodeCordoned, which is never pruned",
    ),
    found(
        "a fact is pruned as an observation and a forged event names it, with the last root recomputed",
        |it| {
            let root = "SELECT root FROM commits WHERE number = 2";
            let kept: String = it.query_row(root, [], |row| row.get(0)).unwrap();
            prune_by_hand(it, 4, Some("NodeObserved"));
            append_by_hand(it, pruned(&[(4, 4)]));
            rehash(it);
            it.execute("UPDATE commits SET root = ?1 WHERE number = 2", [kept]).unwrap();
        },
        "commit 2 (events 4 to 7) failed verification",
    ),
    found(
        "the kind of a pruned event is altered",
        |it| sql(it, "UPDATE pruned SET kind = 'ContainerObserved' WHERE seq = 3"),
        "commit 1 (events 1 to 3)",
    ),
    found(
        "the kind of a pruned event is a fact's",
        |it| sql(it, "UPDATE pruned SET kind = 'NodeCordoned' WHERE seq = 3"),
        "which is never pruned",
    ),
    found(
        "the kind of a pruned event is unknown",
        |it| sql(it, "UPDATE pruned SET kind = 'Nonsense' WHERE seq = 3"),
        "which is never pruned",
    ),
    found(
        "the time of a pruned event is altered",
        |it| sql(it, "UPDATE pruned SET at = at + 1 WHERE seq = 3"),
        "commit 1 (events 1 to 3)",
    ),
    found(
        "the actor of a pruned event is altered",
        |it| sql(it, "UPDATE pruned SET actor = 'token/m' WHERE seq = 3"),
        "commit 1 (events 1 to 3)",
    ),
    found(
        "the content hash of a pruned event is altered",
        |it| sql(it, "UPDATE pruned SET content = zeroblob(32) WHERE seq = 3"),
        "commit 1 (events 1 to 3)",
    ),
    found(
        "the content hash of a pruned event has a wrong length",
        |it| sql(it, "UPDATE pruned SET content = zeroblob(31) WHERE seq = 3"),
        "other types",
    ),
    found(
        "the content hash of a pruned event is text",
        |it| sql(it, "UPDATE pruned SET content = 'text' WHERE seq = 3"),
        "other types",
    ),
    found(
        "the remainder of a pruned event is removed",
        |it| sql(it, "DELETE FROM pruned WHERE seq = 5"),
        "event 5 is missing",
    ),
    found(
        "the remainders of all pruned events are removed",
        |it| sql(it, "DELETE FROM pruned"),
        "event 2 is missing",
    ),
    found(
        "an event is both complete and pruned",
        |it| {
            sql(it, "INSERT INTO pruned SELECT seq, kind, at, actor, zeroblob(32) FROM events WHERE seq = 7");
        },
        "commit 2 (events 4 to 7)",
    ),
    found(
        "a pruned event is added after the last commit",
        |it| sql(it, "INSERT INTO pruned VALUES (10, 'NodeObserved', 0, 'reactor/health', zeroblob(32))"),
        "event 10 that belongs to no commit",
    ),
    found(
        "a pruned event is added before the first commit",
        |it| sql(it, "INSERT INTO pruned VALUES (0, 'NodeObserved', 0, 'reactor/health', zeroblob(32))"),
        "found event 0 in its place",
    ),
    found(
        "the event that names the pruned ranges is removed",
        |it| sql(it, "DELETE FROM events WHERE seq = 8"),
        "event 8 is missing",
    ),
    found(
        "a pruned observation is restored with its old header and another content",
        |it| {
            let json = stored(Seq(3), kdaemon_events::Actor::Anonymous, observed(9));
            let json = json.body.json().unwrap();
            let put =
                "INSERT INTO events SELECT seq, kind, at, actor, zeroblob(16), ?1 FROM pruned WHERE seq = 3";
            it.execute(put, [json]).unwrap();
            sql(it, "DELETE FROM pruned WHERE seq = 3");
        },
        "commit 1 (events 1 to 3)",
    ),
    // Columns next to an event, with all hashes recomputed: they must match the text.
    found(
        "the kind next to a text is altered",
        |it| {
            sql(it, "UPDATE events SET kind = 'NodeObserved' WHERE seq = 4");
            rehash(it);
        },
        "event 4: its columns do not match its text",
    ),
    found(
        "a fact is disguised as an observation and then pruned",
        |it| {
            sql(it, "UPDATE events SET kind = 'NodeObserved' WHERE seq = 4");
            prune_by_hand(it, 4, None);
        },
        "commit 2 (events 4 to 7)",
    ),
    // Rewritten logs: valid by themselves, but contradicting the kept head.
    Forgery {
        name: "an event is altered and all hashes recomputed",
        forge: |it| {
            let json: String =
                it.query_row("SELECT json FROM events WHERE seq = 1", [], |row| row.get(0)).unwrap();
            it.execute("UPDATE events SET json = ?1 WHERE seq = 1", [json.replace("\"a\"", "\"z\"")])
                .unwrap();
            rehash(it);
        },
        alone: None,
    },
    Forgery {
        name: "a salt is altered and all hashes recomputed",
        forge: |it| {
            sql(it, "UPDATE events SET salt = zeroblob(16) WHERE seq = 1");
            rehash(it);
        },
        alone: None,
    },
    Forgery {
        name: "the end is rewritten",
        forge: |it| {
            sql(it, "DELETE FROM events WHERE seq = 9; DELETE FROM commits WHERE last_seq = 9");
            append_by_hand(it, token("c"));
            rehash(it);
        },
        alone: None,
    },
    Forgery {
        name: "a fact is turned into an observation, pruned and named by a forged event, and all hashes recomputed",
        forge: |it| {
            prune_by_hand(it, 4, Some("NodeObserved"));
            append_by_hand(it, pruned(&[(4, 4)]));
            rehash(it);
        },
        alone: None,
    },
    Forgery {
        name: "two commits are merged and all hashes recomputed",
        forge: |it| {
            sql(
                it,
                "DELETE FROM commits WHERE number = 3; UPDATE commits SET number = 3, first_seq = 8 WHERE number = 4",
            );
            rehash(it);
        },
        alone: None,
    },
];

#[tokio::test]
async fn every_forgery_is_found_by_the_log_alone_or_with_a_kept_head() {
    for Forgery { name, forge, alone } in FORGERIES {
        let (folder, [_, head]) = written().await;
        let kept = Expectation { seq: head.seq, root: head.root };
        assert!(look(folder.path(), Some(kept)).ok, "before: {name}");
        {
            let connection = Connection::open(file(folder.path())).unwrap();
            forge(&connection);
        }
        let found = look(folder.path(), None);
        match alone {
            Some(words) => {
                let trouble = found.trouble().unwrap_or_else(|| panic!("{name}: not found"));
                assert!(trouble.contains(words), "{name}: {trouble}");
            }
            None => assert!(found.ok, "{name}: {found:?}"),
        }
        let found = look(folder.path(), Some(kept));
        assert!(!found.ok, "{name}: {found:?}");
    }
}

#[tokio::test]
async fn earlier_head_still_proves_the_events_before_a_forged_end() {
    let (folder, [early, head]) = written().await;
    let connection = Connection::open(file(folder.path())).unwrap();
    sql(&connection, "DELETE FROM events WHERE seq = 9; DELETE FROM commits WHERE last_seq = 9");
    append_by_hand(&connection, token("c"));
    rehash(&connection);
    assert!(look(folder.path(), Some(Expectation { seq: early.seq, root: early.root })).ok);
    let found = look(folder.path(), Some(Expectation { seq: head.seq, root: head.root }));
    assert!(found.trouble().unwrap().contains("up to event 9 the root of the tree is"), "{found:?}");
}

/// Alterations of the stored subtrees of a log of 600 events in commits of 100, each with the failing commit and a part
/// of its detail.
const TAMPERED_NODES: &[(&str, u64, &str)] = &[
    ("UPDATE tree SET hash = zeroblob(32) WHERE level = 8 AND number = 0", 3, "level 8, number 0"),
    ("UPDATE tree SET hash = zeroblob(32) WHERE level = 9 AND number = 0", 6, "level 9, number 0"),
    ("UPDATE tree SET hash = zeroblob(31) WHERE level = 8 AND number = 1", 6, "level 8, number 1"),
    ("UPDATE tree SET hash = 'text' WHERE level = 8 AND number = 1", 6, "level 8, number 1"),
    ("DELETE FROM tree WHERE level = 9", 6, "level 9, number 0"),
    ("DELETE FROM tree", 3, "level 8, number 0"),
    ("UPDATE tree SET number = 5 WHERE level = 8 AND number = 1", 6, "level 8, number 1"),
    ("INSERT INTO tree VALUES (8, 2, zeroblob(32))", 7, "has 4 subtrees, expected 3"),
    ("INSERT INTO tree VALUES (7, 0, zeroblob(32))", 7, "has 4 subtrees, expected 3"),
    ("INSERT INTO tree VALUES (-1, -1, zeroblob(32))", 7, "has 4 subtrees, expected 3"),
    (
        "UPDATE tree SET number = 7 WHERE number = 1; UPDATE tree SET number = 1 WHERE level = 8 AND number = 0;
         UPDATE tree SET number = 0 WHERE number = 7",
        3,
        "level 8, number 0",
    ),
];

#[tokio::test]
async fn tampered_subtrees_are_found_and_their_commit_is_named() {
    for (tamper, commit_number, words) in TAMPERED_NODES {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        let mut head = Head::default();
        for _ in 0..6 {
            head = store.append(&head, commit(&head, vec![cordoned(1); 100])).await.unwrap();
        }
        store.close().await;
        assert!(look(folder.path(), None).ok);
        sql(&Connection::open(file(folder.path())).unwrap(), tamper);
        let bad = look(folder.path(), None).first_bad.unwrap_or_else(|| panic!("{tamper}: not found"));
        assert_eq!(bad.commit, *commit_number, "{tamper}: {bad:?}");
        assert!(bad.detail.contains(words), "{tamper}: {bad:?}");
    }
}

#[tokio::test]
async fn tree_is_restored_when_a_log_of_any_size_is_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let mut head = Head::default();
    for size in [1, 254, 1, 1, 255, 256, 3, 1_000, 500] {
        let store = SqliteStore::open(folder.path()).unwrap();
        assert_eq!(store.head().await.unwrap(), head);
        head = store.append(&head, commit(&head, vec![cordoned(1); size])).await.unwrap();
        assert_eq!(store.verify().await.unwrap(), head);
        store.close().await;
    }
}
