//! Several processes on one file, all writing: nothing is lost, keys keep their order, and the lock of the others reaches no caller.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use omni_box_core::{
    Event, EventRepository, LaneRead, LaneSettlement, LeaseRequest, NewOutboxEvent, OmniBoxDomainService,
    OrderedLanes, OutboxEvent, OwnerId, Store, WorkerId,
};
use omni_box_sqlite::{SqliteConfig, SqliteStore};
use tokio::time::Instant;

use crate::database::Database;

/// Writers in a process, each with a key of its own.
const WRITERS: usize = 3;

/// Events of each process that are settled while both still write.
const ENOUGH: u64 = 300;

/// Where a writing process finds the file, and what it is called; only such a process has it.
const WRITER: &str = "OMNI_BOX_SQLITE_WRITER";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_enqueue_while_a_third_relays() {
    if let Some(writer) = std::env::var_os(WRITER) {
        let writer = writer.into_string().unwrap();
        let (name, path) = writer.split_once(' ').unwrap();
        return write_until_told(name, Path::new(path)).await;
    }
    let db = Database::create().await;
    let mut processes = ["one", "two"].map(|name| spawn(name, &db.path()));
    let mut relay = Relay { owner: OwnerId::generate(), settled: BTreeMap::new() };
    let deadline = Instant::now() + Duration::from_secs(90);
    while ["one", "two"].iter().any(|process| relay.settled_of(process) < ENOUGH) {
        relay.turn(&db.store).await;
        for process in &mut processes {
            assert!(process.try_wait().unwrap().is_none(), "a writer ended by itself");
        }
        assert!(Instant::now() < deadline, "not within 90 s: {:?}", relay.settled);
    }
    for process in &mut processes {
        drop(process.stdin.take());
    }
    let mut written = BTreeMap::new();
    for mut process in processes {
        let output = BufReader::new(process.stdout.take().unwrap());
        for line in output.lines().map(Result::unwrap) {
            if let Some((key, count)) = line.strip_prefix("wrote ").and_then(|line| line.split_once(' ')) {
                written.insert(key.to_owned(), count.parse::<u64>().unwrap());
            }
        }
        assert!(process.wait().unwrap().success(), "a writer failed");
    }
    assert_eq!(written.len(), 2 * WRITERS, "{written:?}");
    while relay.turn(&db.store).await > 0 {}
    assert_eq!(relay.settled, written, "what was written has been relayed, all of it");
    assert_eq!(db.count("outbox_events where status <> 'completed'").await, 0);
    assert_eq!(db.count("outbox_events").await, i64::try_from(written.values().sum::<u64>()).unwrap());
}

fn spawn(name: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "processes::two_processes_enqueue_while_a_third_relays",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(WRITER, format!("{name} {}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

struct Relay {
    owner: OwnerId,
    /// How many events of each key.
    settled: BTreeMap<String, u64>,
}

impl Relay {
    fn settled_of(&self, process: &str) -> u64 {
        self.settled.iter().filter(|(key, _)| key.starts_with(process)).map(|(_, count)| count).sum()
    }

    /// Renews, reads and settles as a relay does; returns how many events there were.
    async fn turn(&mut self, store: &SqliteStore) -> usize {
        let worker = WorkerId::new("relay").unwrap();
        let request = LeaseRequest { owner: self.owner, worker, ttl: Duration::from_secs(60) };
        let leases = store.lease(&request).await.unwrap().leases;
        assert_eq!(leases.len(), 16);
        let reads: Vec<_> = leases.iter().map(|lease| LaneRead::all(lease.lane, 50)).collect();
        let found = store.fetch(&reads, &[], &[], 1 << 20).await.unwrap().events;
        for read in &found {
            let key = read.event.partition_key().unwrap();
            let next = self.settled.entry(key.to_owned()).or_default();
            assert_eq!(number_of(&read.event), *next, "events of {key} in the order of their commits");
            *next += 1;
        }
        let completed = found.iter().map(|read| read.event.id()).collect();
        let settlement = LaneSettlement { completed, ..LaneSettlement::default() };
        let settled = OrderedLanes::settle(store, self.owner, &leases, &settlement).await.unwrap();
        assert_eq!(settled.lost, []);
        found.len()
    }
}

fn number_of(event: &OutboxEvent) -> u64 {
    let payload: BTreeMap<String, u64> = event.payload().deserialize().unwrap();
    payload["number"]
}

/// Until the other end of the standard input is closed.
async fn write_until_told(name: &str, path: &Path) {
    let told = Arc::new(AtomicBool::new(false));
    let tells = Arc::clone(&told);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        tells.store(true, Ordering::SeqCst);
    });
    let store = SqliteStore::open(path, SqliteConfig::default()).await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(store.clone(), format!("{name}-{writer}"), Arc::clone(&told))))
        .collect();
    for writer in writers {
        let (key, count) = writer.await.unwrap();
        println!("\nwrote {key} {count}");
    }
}

async fn write(store: SqliteStore, key: String, told: Arc<AtomicBool>) -> (String, u64) {
    let mut count = 0;
    while !told.load(Ordering::SeqCst) {
        let next = count + fastrand::u64(1..4);
        let events: Vec<OutboxEvent> = (count..next).map(|number| event(&key, number)).collect();
        let mut tx = store.begin().await.unwrap();
        store.create_many(&mut tx, &events).await.unwrap();
        // some transactions come to nothing
        if fastrand::u8(..8) == 0 {
            Store::rollback(&store, tx).await.unwrap();
        } else {
            store.commit(tx).await.unwrap();
            count = next;
        }
    }
    (key, count)
}

fn event(key: &str, number: u64) -> OutboxEvent {
    let event = NewOutboxEvent::new("order.placed", "orders", &BTreeMap::from([("number", number)]))
        .partition_key(key);
    OmniBoxDomainService::default().create_outbox_event(event).unwrap()
}
