//! A lane has one owner, and every change of owner has a higher epoch.

use std::collections::HashSet;

use omni_box_core::{DeliveryMode, ErrorKind, LaneId, OutboxRepository};

use super::{Relay, lanes_of};
use crate::StoreFixture;
use crate::table::TTL;

/// `delivery_mode`: lanes are the table's own mode, for every process.
pub async fn the_mode_of_a_table_with_lanes_is_lanes<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    fixture.set_mode(DeliveryMode::Lanes).await;
    let mode =
        fixture.open().await.delivery_mode().await.expect("the mode of a table that is there can be read");
    assert_eq!(mode, DeliveryMode::Lanes, "every process sees the mode that was set");
}

/// `lease`: takes free lanes up to the fair share, which for a lone owner is all of them.
pub async fn a_lone_owner_gets_every_lane<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let lanes: HashSet<LaneId> = relay.leases.iter().map(|lease| lease.lane).collect();
    assert!(!lanes.is_empty(), "a table has at least one lane");
    assert_eq!(lanes.len(), relay.leases.len(), "each lane is leased once");
    assert_eq!(
        relay.fair_share,
        lanes.len(),
        "the fair share of a lone owner is every lane, and all were free"
    );
}

/// `lease`: the fair share is the number of lanes divided by the owners alive, rounded up. `release`: gives lanes back at once.
pub async fn lanes_are_shared_fairly<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relays = vec![Relay::first(&fixture).await];
    let lanes = relays[0].leases.len();
    for count in [2, 3, lanes + 1] {
        while relays.len() < count {
            relays.push(Relay::start(&fixture).await);
        }
        let share = lanes.div_ceil(count);
        // each gives back what is above its share, until all have theirs
        for _ in 0..3 {
            for relay in &mut relays {
                relay.lease().await;
                assert_eq!(relay.fair_share, share, "fair share of {lanes} lanes among {count} owners alive");
                if relay.leases.len() > share {
                    relay.release(&relay.leases[share..]).await;
                    relay.leases.truncate(share);
                }
            }
        }
        let mut owned = HashSet::new();
        for relay in &relays {
            assert!(relay.leases.len() <= share, "no relay takes more than a fair share of {share}");
            for lease in &relay.leases {
                assert!(owned.insert(lease.lane), "lane {} has two owners", lease.lane);
            }
        }
        assert_eq!(owned.len(), lanes, "every lane has an owner, with {count} owners alive");
    }
}

/// `lease`: never takes a lane that another owner holds.
pub async fn owners_that_begin_at_once_share_no_lane<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    fixture.set_mode(DeliveryMode::Lanes).await;
    for _ in 0..4 {
        let mut relays =
            [Relay::idle(&fixture).await, Relay::idle(&fixture).await, Relay::idle(&fixture).await];
        let [a, b, c] = &mut relays;
        tokio::join!(a.lease(), b.lease(), c.lease());
        let mut owned = HashSet::new();
        for lease in relays.iter().flat_map(|relay| &relay.leases) {
            assert!(
                owned.insert(lease.lane),
                "lane {} was given to two owners that asked at once",
                lease.lane
            );
        }
        for relay in &relays {
            relay.leave().await;
        }
    }
}

/// `lease`: a lease that is renewed keeps its epoch, and lives on.
pub async fn a_renewed_lease_keeps_its_epoch<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let before = relay.leases.clone();
    for _ in 0..3 {
        fixture.advance(TTL * 2 / 3).await;
        relay.lease().await;
        assert_eq!(relay.leases, before, "a lease that is renewed in time keeps its lane and its epoch");
    }
    fixture.advance(TTL * 2 / 3).await;
    let other = Relay::start(&fixture).await;
    assert_eq!(other.leases, [], "a lease lives for its time to live from its last renewal");
}

/// `lease`: takes expired lanes; a lane that is taken gets a higher epoch, and the owner before does not get it in its answer.
pub async fn an_expired_lease_is_taken_with_a_higher_epoch<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut old = Relay::first(&fixture).await;
    let before = old.leases.clone();
    let mut new = Relay::start(&fixture).await;
    assert_eq!(new.leases, [], "a lease that has not expired is not taken");
    fixture.advance(TTL * 2).await;
    new.lease().await;
    assert_eq!(new.fair_share, before.len(), "an owner that was silent for its lease's time is not alive");
    assert_eq!(lanes_of(&new.leases), lanes_of(&before), "expired leases are taken");
    for (new, old) in new.leases.iter().zip(&before) {
        assert!(new.epoch > old.epoch, "lane {} changed its owner: its epoch must rise", new.lane);
    }
    old.lease().await;
    assert_eq!(old.leases, [], "a lease that another owner took is not in the answer");
}

/// `release`: gives lanes back at once; the next owner has a higher epoch.
pub async fn a_released_lane_is_free_at_once<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let mut other = Relay::start(&fixture).await;
    relay.release(&relay.leases[..1]).await;
    other.lease().await;
    assert_eq!(
        lanes_of(&other.leases),
        lanes_of(&relay.leases[..1]),
        "what is given back is free at once, and nothing else"
    );
    assert!(
        other.leases[0].epoch > relay.leases[0].epoch,
        "a lane that changes its owner gets a higher epoch"
    );
}

/// `release`: lanes not held under this epoch, or by this owner, are left alone.
pub async fn a_release_leaves_the_leases_of_others_alone<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut relay = Relay::first(&fixture).await;
    let first = relay.leases.clone();
    relay.leave().await;
    relay.lease().await;
    assert!(
        relay.leases[0].epoch > first[0].epoch,
        "a lane that is taken anew gets a higher epoch, by whomever"
    );
    let mut other = Relay::start(&fixture).await;
    relay.release(&first).await;
    other.lease().await;
    assert_eq!(other.leases, [], "a release of an older epoch frees nothing: it may come late");
    other.release(&relay.leases).await;
    other.lease().await;
    assert_eq!(other.leases, [], "an owner cannot release the lanes of another");
    let before = relay.leases.clone();
    relay.lease().await;
    assert_eq!(relay.leases, before, "the lanes are still those of their owner");
}

/// `leave`: gives everything back and leaves the owners alive.
pub async fn who_leaves_is_not_counted_any_more<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let relay = Relay::first(&fixture).await;
    let mut other = Relay::start(&fixture).await;
    assert_eq!(other.fair_share, relay.leases.len().div_ceil(2), "two are alive");
    relay.leave().await;
    other.lease().await;
    assert_eq!(other.fair_share, relay.leases.len(), "who has left is not alive");
    assert_eq!(lanes_of(&other.leases), lanes_of(&relay.leases), "who leaves gives every lane back, at once");
    for (new, old) in other.leases.iter().zip(&relay.leases) {
        assert!(new.epoch > old.epoch, "lane {} changed its owner: its epoch must rise", new.lane);
    }
}

/// `lease`: takes lanes in the mode `lanes` only. A relay without leases does not notice the change of the mode, nor does one whose leases
/// ran out while it hung.
pub async fn no_lane_is_taken_in_another_mode<F>(fixture: F)
where
    F: StoreFixture<Store: OutboxRepository>,
{
    let mut hung = Relay::first(&fixture).await;
    let before = hung.leases.clone();
    let without = Relay::start(&fixture).await;
    without.leave().await;
    fixture.advance(TTL * 2).await;
    fixture.set_mode(DeliveryMode::Rows).await;
    for (relay, what) in [(&without, "a relay without leases"), (&hung, "a relay whose leases ran out")] {
        match relay.ask().await {
            Ok(share) => panic!("{what} gets {} lanes in the mode rows", share.leases.len()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Misconfigured, "{what} ends with its call: {error:?}");
            }
        }
    }
    // this is refused while a lane is leased
    fixture.set_mode(DeliveryMode::Lanes).await;
    hung.lease().await;
    assert_eq!(lanes_of(&hung.leases), lanes_of(&before), "every lane was free, and may be taken again");
    for (new, old) in hung.leases.iter().zip(&before) {
        assert!(new.epoch > old.epoch, "lane {} had no owner in between: its epoch must rise", new.lane);
    }
}
