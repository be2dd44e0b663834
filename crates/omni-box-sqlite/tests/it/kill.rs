//! Writers that are killed in the middle of commits: the file, opened again, holds what was acknowledged, whole, and nothing in part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use omni_box_core::{Event, EventRepository, InboxRepository, InboxSettlement, OutboxEvent, Received, Store};
use omni_box_sqlite::{SqliteConfig, SqliteStore};

use crate::database::{Database, event, message};

const WRITERS: u32 = 4;
const ROUNDS: u32 = 8;

/// Where the process that is killed finds the file; only that process has it.
const VICTIM: &str = "OMNI_BOX_SQLITE_VICTIM";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(VICTIM) {
        return write_for_ever(Path::new(&path)).await;
    }
    let db = Database::create().await;
    db.execute(
        "create table effects (writer integer, number integer, events integer, primary key (writer, number))",
    )
    .await;
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let mut victim = spawn(&db.path());
        // ready, and then at whatever point it has come to
        let mut ready = String::new();
        let mut output = BufReader::new(victim.stdout.take().unwrap());
        while !ready.contains("ready") {
            ready.clear();
            assert!(
                output.read_line(&mut ready).unwrap() > 0,
                "the process that is to be killed ended by itself"
            );
        }
        let others = tokio::spawn(beside(db.open().await));
        tokio::time::sleep(Duration::from_millis(u64::from(60 + 37 * round))).await;
        victim.kill().unwrap();
        victim.wait().unwrap();
        others.await.unwrap();
        acknowledged = judge(&db).await;
    }
    assert!(
        acknowledged > ROUNDS as usize * WRITERS as usize,
        "only {acknowledged} transactions: nothing was killed"
    );
}

fn spawn(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::what_was_acknowledged_survives_a_kill", "--nocapture", "--test-threads=1"])
        .env(VICTIM, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Another process at work on the file, which goes on while one is killed.
async fn beside(store: SqliteStore) {
    for _ in 0..20 {
        let mut tx = store.begin().await.unwrap();
        let other = event("beside");
        store.create(&mut tx, &other).await.unwrap();
        Store::rollback(&store, tx).await.unwrap();
    }
    store.pool().close().await;
}

fn journal_of(path: &Path, writer: u32) -> PathBuf {
    path.with_extension(format!("journal-{writer}"))
}

async fn write_for_ever(path: &Path) {
    let store = SqliteStore::open(path, SqliteConfig::default()).await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let journal =
                OpenOptions::new().create(true).append(true).open(journal_of(path, writer)).unwrap();
            tokio::spawn(write(store.clone(), writer, journal))
        })
        .collect();
    println!("ready");
    for writer in writers {
        writer.await.unwrap();
    }
}

/// What an inbox does: the message, its effect, the events it adds and its completion, in one transaction. What has been answered
/// is journalled, and the journal is on the disk before the next begins.
async fn write(store: SqliteStore, writer: u32, mut journal: File) {
    let last: Option<u32> = sqlx::query_scalar("select max(number) from effects where writer = ?1")
        .bind(writer)
        .fetch_one(store.pool())
        .await
        .unwrap();
    for number in last.map_or(0, |last| last + 1).. {
        let incoming = message(&format!("{writer}-{number}"));
        let events: Vec<OutboxEvent> =
            (0..fastrand::u32(1..5)).map(|_| event(&format!("{writer}-{number}"))).collect();
        let mut tx = store.begin().await.unwrap();
        assert_eq!(store.receive(&mut tx, std::slice::from_ref(&incoming)).await.unwrap(), [Received::New]);
        sqlx::query("insert into effects values (?1, ?2, ?3)")
            .bind(writer)
            .bind(number)
            .bind(events.len() as i64)
            .execute(&mut *tx)
            .await
            .unwrap();
        store.create_many(&mut tx, &events).await.unwrap();
        let settlement = InboxSettlement { completed: vec![incoming.id()], failures: vec![] };
        store.settle(&mut tx, &settlement).await.unwrap();
        store.commit(tx).await.unwrap();
        writeln!(journal, "{number}").unwrap();
        journal.sync_data().unwrap();
    }
}

/// Compares file and journals; returns how many transactions were acknowledged.
async fn judge(db: &Database) -> usize {
    let store = db.open().await;
    let sound: String = sqlx::query_scalar("pragma integrity_check").fetch_one(store.pool()).await.unwrap();
    assert_eq!(sound, "ok");
    let effects: Vec<(u32, u32, i64)> =
        sqlx::query_as("select writer, number, events from effects").fetch_all(store.pool()).await.unwrap();
    let keys: Vec<(String, i64)> =
        sqlx::query_as("select partition_key, count(*) from outbox_events group by partition_key")
            .fetch_all(store.pool())
            .await
            .unwrap();
    let completed: Vec<String> =
        sqlx::query_scalar("select message_id from inbox_events where status = 'completed'")
            .fetch_all(store.pool())
            .await
            .unwrap();
    // whole: an effect, its events and its message, or none of them
    let expected: BTreeMap<String, i64> =
        effects.iter().map(|(writer, number, events)| (format!("{writer}-{number}"), *events)).collect();
    assert_eq!(keys.into_iter().collect::<BTreeMap<_, _>>(), expected, "events and effects");
    assert_eq!(
        completed.into_iter().collect::<BTreeSet<_>>(),
        expected.into_keys().collect(),
        "messages and effects"
    );
    assert_eq!(db.count("inbox_events where status <> 'completed'").await, 0);
    let mut total = 0;
    for writer in 0..WRITERS {
        let journal = std::fs::read_to_string(journal_of(&db.path(), writer)).unwrap_or_default();
        let acknowledged: BTreeSet<u32> = journal.lines().map(|line| line.parse().unwrap()).collect();
        let stored: BTreeSet<u32> =
            effects.iter().filter(|(of, ..)| *of == writer).map(|(_, number, _)| *number).collect();
        let lost: Vec<_> = acknowledged.difference(&stored).collect();
        assert!(lost.is_empty(), "writer {writer} was told that {lost:?} had committed");
        assert_eq!(stored.len(), stored.last().map_or(0, |last| *last as usize + 1), "no gap");
        // one in flight for each time it was killed
        let unknown = stored.len() - acknowledged.len();
        assert!(
            unknown <= ROUNDS as usize,
            "{unknown} transactions of writer {writer} that were not answered"
        );
        total += acknowledged.len();
    }
    store.pool().close().await;
    total
}
