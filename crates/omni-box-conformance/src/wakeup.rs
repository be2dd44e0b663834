//! [`Wakeup`]: a commit wakes who waits.

use std::time::Duration;

use omni_box_core::{Activity, LeaseRequest, OutboxEvent, OutboxRepository, OwnerId, Wakeup, WorkerId};
use tokio::time::timeout;

use super::table::{TTL, Table};
use super::{Specimen, StoreFixture};

/// Longer than any wake-up takes; polling is not waited for.
const LONG: Duration = Duration::from_secs(20);

/// An idle owner of all lanes, for stores whose writers wake only those.
async fn idle<S: OutboxRepository>(store: &S) {
    let Some(lanes) = store.lanes() else { return };
    let owner = OwnerId::generate();
    let worker = WorkerId::new("publisher-1").expect("a valid name");
    let leases =
        lanes.lease(&LeaseRequest { owner, worker, ttl: TTL }).await.expect("lanes are leased").leases;
    lanes.announce(owner, &leases, Activity::Idle).await.expect("an owner announces its activity");
}

async fn assert_woken(wakeup: &mut dyn Wakeup, who: &str) {
    timeout(LONG, wakeup.wait()).await.unwrap_or_else(|_| panic!("{who} was not woken by a commit"));
}

/// `wait`: resolves when something may have been enqueued, by this process or another.
pub async fn a_commit_wakes_who_waits<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let (own, other) =
        (Table::<_, OutboxEvent>::open(&fixture).await, Table::<_, OutboxEvent>::open(&fixture).await);
    idle(&own.store).await;
    let mut wakeup = own.store.wakeup().expect("a store that is tested for wake-ups has them");
    // one wake-up too many is allowed, but not one for each commit
    for _ in 0..3 {
        for (table, whose) in [(&own, "of its own process"), (&other, "of another process")] {
            let who = format!("who waits for a commit {whose}");
            let (_, ()) = tokio::join!(
                async { table.create_one(&OutboxEvent::of("a")).await },
                assert_woken(&mut *wakeup, &who),
            );
        }
    }
}

/// `wait`: a wake-up that arrives while nothing waits is kept for the next call. Every waiter gets one.
pub async fn a_wake_up_is_kept_for_the_next_wait<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let table = Table::<_, OutboxEvent>::open(&fixture).await;
    idle(&table.store).await;
    let new = || table.store.wakeup().expect("a store that is tested for wake-ups has them");
    let mut waiters = [new(), new()];
    for _ in 0..3 {
        table.create_one(&OutboxEvent::of("a")).await;
        for waiter in &mut waiters {
            assert_woken(&mut **waiter, "who waits after a commit").await;
        }
    }
}
