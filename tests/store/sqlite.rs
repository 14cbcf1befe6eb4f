//! The embedded store, with all kinds of damage to its folder and its file.

use crate::store::events::*;
use kdaemon::journal::fold_log;
use kdaemon::store::prelude::*;
use kdaemon::store::{Commit, Head, RowChange, SqliteStore, StoreError, Table, restore_file};
use kdaemon::verify::Expectation;
use kdaemon::verify::VerifyLog as _;
use kdaemon_events::Seq;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use uuid::Uuid;

fn file(folder: &Path) -> PathBuf {
    folder.join("kdaemon.db")
}

/// A folder with a log of `commits` commits, cleanly closed.
async fn written(commits: u64) -> (tempfile::TempDir, Head) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let head = fill(&store, commits).await;
    store.close().await;
    (folder, head)
}

fn damage(folder: &Path, sql: &str) {
    let connection = Connection::open(file(folder)).unwrap();
    let tables = folder.join("tables.db");
    connection.execute("ATTACH ?1 AS derived", [tables.to_string_lossy()]).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[track_caller]
fn refused(folder: &Path) -> StoreError {
    match SqliteStore::open(folder) {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

/// Checks that a message contains the problem, the place and the remedy.
#[track_caller]
fn says(error: &StoreError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "expected `{part}` in `{text}`");
    }
}

#[tokio::test]
async fn reopened_store_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let head = fill(&store, 3).await;
    let with_record =
        Commit { idempotency: vec![record("k", at(1), "{}")], ..commit(&head, vec![token("x")]) };
    let head = store.append(&head, with_record).await.unwrap();
    let row = RowChange { table: Table::Nodes, id: Uuid::from_u128(1), json: Some("{}".into()) };
    store.write_rows(head.seq, vec![row]).await.unwrap();
    store.close().await;
    let store = SqliteStore::open(folder.path()).unwrap();
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(store.verify().await.unwrap(), head);
    assert_eq!(store.idempotency_records(at(0), Seq(0)).await.unwrap(), [record("k", at(1), "{}")]);
    assert_eq!(store.tables_reflect().await.unwrap(), head.seq);
    assert_eq!(store.read_table(Table::Nodes).await.unwrap().len(), 1);
    let head = store.append(&head, commit(&head, vec![token("y")])).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), head);
    store.close().await;
}

#[tokio::test]
async fn data_folder_is_created_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    let store = SqliteStore::open(&inner).unwrap();
    assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(store.describe(), format!("sqlite:{}", file(&inner).display()));
    store.close().await;
}

#[tokio::test]
async fn data_folder_has_one_daemon_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::InUse(_)), "{error:?}");
    says(
        &error,
        &["another kdaemon uses the data folder", &folder.path().display().to_string(), "--data-dir"],
    );
    let head = fill(&store, 1).await;
    store.close().await;
    let store = SqliteStore::open(folder.path()).unwrap();
    assert_eq!(store.head().await.unwrap(), head);
    store.close().await;
}

#[tokio::test]
async fn closed_store_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    store.close().await;
    assert!(matches!(store.head().await, Err(StoreError::Unavailable(_))));
    let append = store.append(&Head::default(), commit(&Head::default(), vec![token("x")])).await;
    says(&append.unwrap_err(), &["it is closed"]);
    store.close().await;
}

#[test]
fn database_of_another_program_is_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    damage(folder.path(), "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1);");
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    says(&error, &["database of another program", "kdaemon.db", "--data-dir"]);
    let theirs: i64 = Connection::open(file(folder.path()))
        .unwrap()
        .query_row("SELECT count(*) FROM theirs", [], |row| row.get(0))
        .unwrap();
    assert_eq!(theirs, 1);
}

#[test]
fn file_that_is_not_a_database_is_left_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let text = "This is not a database. ".repeat(400);
    std::fs::write(file(folder.path()), &text).unwrap();
    let error = refused(folder.path());
    assert!(matches!(error, StoreError::Damaged(_)), "{error:?}");
    says(&error, &["is not a database of kDaemon", "--data-dir"]);
    assert_eq!(std::fs::read_to_string(file(folder.path())).unwrap(), text);
}

#[tokio::test]
async fn file_of_a_newer_kdaemon_is_refused() {
    let (folder, _) = written(1).await;
    damage(folder.path(), "PRAGMA user_version = 99");
    says(&refused(folder.path()), &["newer kDaemon", "layout 99", "use the newer version"]);
}

/// Opens the store and folds its log, as a starting daemon does.
async fn start(folder: &Path) -> Result<Head, StoreError> {
    let store = SqliteStore::open(folder)?;
    let folded = fold_log(&store).await;
    let verified = store.verify().await;
    store.close().await;
    folded?;
    verified
}

#[tokio::test]
async fn truncated_file_is_refused() {
    let (folder, head) = written(400).await;
    let whole = std::fs::read(file(folder.path())).unwrap();
    for eighths in 1..8 {
        let length = whole.len() * eighths / 8;
        for cut in [length, length / 4_096 * 4_096] {
            std::fs::write(file(folder.path()), &whole[..cut]).unwrap();
            let started = start(folder.path()).await;
            assert!(matches!(started, Err(StoreError::Damaged(_))), "cut at {cut}: {started:?}");
        }
    }
    says(&start(folder.path()).await.unwrap_err(), &["kdaemon.db", "restore it from a backup"]);
    std::fs::write(file(folder.path()), &whole).unwrap();
    assert_eq!(start(folder.path()).await.unwrap(), head);
}

#[tokio::test]
async fn truncated_write_ahead_log_keeps_complete_commits() {
    // A copy of the files of a running store is what a crash leaves.
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path()).unwrap();
    let head = fill(&store, 30).await;
    let wal = std::fs::read(folder.path().join("kdaemon.db-wal")).unwrap();
    let base = std::fs::read(file(folder.path())).unwrap();
    store.close().await;
    let copy = |length: usize| {
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(file(copy.path()), &base).unwrap();
        std::fs::write(copy.path().join("kdaemon.db-wal"), &wal[..length]).unwrap();
        copy
    };
    let whole = copy(wal.len());
    assert_eq!(start(whole.path()).await.unwrap(), head);
    let mut seen = std::collections::BTreeSet::new();
    for part in 0..64 {
        let copy = copy(wal.len() * part / 64);
        let head = start(copy.path()).await.unwrap();
        seen.insert(head.seq);
        assert_eq!(head.seq.0, head.commits, "each commit had one event");
    }
    assert!(seen.len() > 10, "the cuts fell between different commits: {seen:?}");
}

#[tokio::test]
async fn deleted_event_is_noticed_at_open() {
    for sql in [
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM events WHERE seq = 1",
        "DELETE FROM events WHERE seq = 5",
        "DELETE FROM events",
        "DELETE FROM commits WHERE number = 5",
        "UPDATE events SET seq = 77 WHERE seq = 5",
    ] {
        let (folder, _) = written(5).await;
        damage(folder.path(), sql);
        let error = refused(folder.path());
        assert!(matches!(error, StoreError::Damaged(_)), "{sql}: {error:?}");
        says(&error, &["holes", "restore it from a backup"]);
    }
}

#[tokio::test]
async fn altered_tail_stops_the_start() {
    let (folder, _) = written(5).await;
    damage(folder.path(), "UPDATE events SET json = replace(json, 't2', 't9') WHERE seq = 3");
    says(&refused(folder.path()), &["kdaemon.db", "do not have the root", "event 5", "kdaemon verify"]);
    damage(folder.path(), "UPDATE events SET json = '{' WHERE seq = 3");
    says(&refused(folder.path()), &["event 3"]);
}

#[tokio::test]
async fn pre_release_layout_is_refused() {
    let (folder, _) = written(1).await;
    damage(folder.path(), "PRAGMA user_version = 3");
    says(&refused(folder.path()), &["layout 3", "pre-release"]);
}

/// The type and name of each object in the schema of a log's file.
fn objects(folder: &Path) -> Vec<(String, String)> {
    let connection = Connection::open(file(folder)).unwrap();
    let mut statement = connection.prepare("SELECT type, name FROM sqlite_master ORDER BY name").unwrap();
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    found.collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn restore_copies_rows_and_nothing_else() {
    let (folder, head) = written(300).await;
    let plain = objects(folder.path());
    damage(
        folder.path(),
        "CREATE TRIGGER alter_rows AFTER INSERT ON events BEGIN
             UPDATE events SET json = replace(json, 'token', 'other') WHERE seq = 1;
             DELETE FROM commits WHERE number = 1;
         END;
         CREATE VIEW view_of_events AS SELECT * FROM events;
         CREATE INDEX by_kind ON events (kind);
         CREATE TABLE theirs AS SELECT 1 AS x;
         INSERT INTO cursors VALUES ('webhook', 7);",
    );
    assert_eq!(objects(folder.path()).len(), plain.len() + 4);
    let restored = tempfile::tempdir().unwrap();
    let expectation = Expectation { seq: head.seq, root: head.root };
    let found = restore_file(&file(folder.path()), restored.path(), Some(expectation), |_, _| {}).unwrap();
    assert_eq!((found.ok, found.events), (true, 300));
    assert_eq!(objects(restored.path()), plain);
    let store = SqliteStore::open(restored.path()).unwrap();
    let next = store.append(&head, commit(&head, vec![token("x")])).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), next);
    assert_eq!(store.cursor("webhook").await.unwrap(), Some(Seq(7)));
    store.close().await;
    // A daemon that starts on such a file does not run its triggers either.
    let store = SqliteStore::open(folder.path()).unwrap();
    let next = store.append(&head, commit(&head, vec![token("x")])).await.unwrap();
    assert_eq!(store.verify().await.unwrap(), next);
    store.close().await;
}

#[tokio::test]
async fn view_in_place_of_a_table_is_not_read() {
    let (folder, _) = written(3).await;
    damage(
        folder.path(),
        "ALTER TABLE events RENAME TO real_events; CREATE VIEW events AS SELECT * FROM real_events;",
    );
    let restored = tempfile::tempdir().unwrap();
    let refused = restore_file(&file(folder.path()), restored.path(), None, |_, _| {}).unwrap_err();
    says(&refused, &["view"]);
    assert_eq!(std::fs::read_dir(restored.path()).unwrap().count(), 0);
}
