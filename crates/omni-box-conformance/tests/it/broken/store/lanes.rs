//! Lanes.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    Activity, Error, Event, EventId, KeyRef, LaneEvent, LaneFetch, LaneRead, LaneSettlement, LaneShare,
    Lease, LeaseRequest, OrderedLanes, OutboxEvent, OutboxRepository, OwnerId, Result, Retry, Settled,
};

use super::Broken;
use super::flaw::Flaw;

impl<S: OutboxRepository> Broken<S> {
    fn inner_lanes(&self) -> &dyn OrderedLanes {
        self.inner.lanes().unwrap()
    }

    /// Leases with the owner and the epoch that the store inside checks them by.
    fn checked(&self, owner: OwnerId, leases: &[Lease]) -> Vec<(OwnerId, Lease)> {
        let notes = self.notes();
        if self.has(Flaw::SettlesEveryLane) {
            return notes.holders.values().filter(|(holder, _)| *holder == owner).copied().collect();
        }
        let checked = |lease: &Lease| match (self.flaw, notes.holders.get(&lease.lane)) {
            (
                Some(
                    Flaw::SettlesWithoutTheEpoch
                    | Flaw::ATakeOverKeepsTheEpoch
                    | Flaw::ARenewalRaisesTheEpoch,
                ),
                Some((holder, current)),
            ) if *holder == owner => (owner, *current),
            (Some(Flaw::SettlesWithoutTheOwner), Some((holder, current))) if current == lease => {
                (*holder, *lease)
            }
            _ => (owner, *lease),
        };
        leases.iter().map(checked).collect()
    }

    /// What is leased although the store inside refuses it in this mode.
    fn leased_all_the_same(&self, owner: OwnerId, error: Error) -> Result<LaneShare> {
        let has_got = |holder: OwnerId| match self.flaw {
            Some(Flaw::TakesLanesInAnyMode) => true,
            Some(Flaw::RenewsLanesInAnyMode) => holder == owner,
            _ => false,
        };
        let notes = self.notes();
        let leases: Vec<Lease> =
            notes.holders.values().filter(|(holder, _)| has_got(*holder)).map(|(_, lease)| *lease).collect();
        if leases.is_empty() { Err(error) } else { Ok(LaneShare { fair_share: leases.len(), leases }) }
    }

    /// Settles each lease as its holder.
    async fn settle_by(&self, leases: Vec<(OwnerId, Lease)>, settlement: &LaneSettlement) -> Result<Settled> {
        let mut of_owner: BTreeMap<OwnerId, Vec<Lease>> = BTreeMap::new();
        for (owner, lease) in leases {
            of_owner.entry(owner).or_default().push(lease);
        }
        let mut all = Settled::default();
        for (owner, leases) in of_owner {
            let Settled { lost, unreleased } = self.inner_lanes().settle(owner, &leases, settlement).await?;
            all.lost.extend(lost);
            all.unreleased.extend(unreleased);
        }
        if self.has(Flaw::ForgetsTheRestOfARelease) {
            all.unreleased.clear();
        }
        Ok(all)
    }

    /// What a flaw notes at a heartbeat of how far lanes were read.
    fn note_progress(&self) {
        let mut notes = self.notes();
        let is_done = |id: &EventId| match self.flaw {
            Some(Flaw::ANewOwnerBeginsWhereReadingEnded) => true,
            Some(Flaw::ANewOwnerMissesTheReleased) => notes.completed.contains(id),
            _ => false,
        };
        let done: Vec<_> = notes.read.iter().filter(|(id, _)| is_done(id)).map(|(_, place)| *place).collect();
        for (lane, seq) in done {
            let to = notes.read_to.entry(lane).or_insert(seq);
            *to = seq.max(*to);
        }
    }

    fn gives_bounds(&self) -> bool {
        matches!(
            self.flaw,
            Some(
                Flaw::ABoundIsWhatWasReadLast
                    | Flaw::ABoundIgnoresLimits
                    | Flaw::ABoundHidesHeads
                    | Flaw::ABoundHidesTheScheduled
                    | Flaw::ABoundHidesTheReleased
            )
        )
    }

    /// What of a fetch lies above the bounds that were given before, and bounds.
    async fn bounded(&self, lanes: &[LaneRead], fetched: Vec<LaneEvent>) -> Result<LaneFetch> {
        let unlimited: Vec<LaneRead> = lanes.iter().map(|read| LaneRead { limit: 1000, ..*read }).collect();
        let known = match self.flaw {
            Some(Flaw::ABoundIgnoresLimits) => {
                self.inner_lanes().fetch(&unlimited, &[], &[], u64::MAX).await?.events
            }
            _ => fetched.clone(),
        };
        let mut bounds = BTreeMap::new();
        for event in &known {
            let bound = bounds.entry(event.lane).or_insert(event.seq);
            *bound = event.seq.max(*bound);
        }
        let above: BTreeMap<_, _> = lanes.iter().map(|read| (read.lane, read.above)).collect();
        let followers = self.notes().followers.clone();
        let is_read = |event: &LaneEvent| {
            let is_scheduled = !event.is_held_head && is_scheduled(event);
            let is_kept = match self.flaw {
                Some(Flaw::ABoundHidesHeads) => is_scheduled || followers.contains(&event.event.id()),
                Some(Flaw::ABoundHidesTheScheduled) => !is_scheduled || event.is_held_head,
                Some(Flaw::ABoundHidesTheReleased) => is_scheduled || event.is_held_head,
                _ => is_scheduled || event.is_held_head || followers.contains(&event.event.id()),
            };
            is_kept || above.get(&event.lane).is_none_or(|above| *above < event.seq)
        };
        let events = fetched.into_iter().filter(is_read).collect();
        Ok(LaneFetch { events, bounds, ..LaneFetch::default() })
    }

    /// What is written instead of a settlement.
    async fn changed(&self, mut settlement: LaneSettlement) -> Result<LaneSettlement> {
        match self.flaw {
            Some(Flaw::SettlesAllButTheLast) => drop(settlement.completed.pop()),
            Some(Flaw::AReleaseForgetsFollowers) => settlement.release.clear(),
            Some(Flaw::FollowersArePublishable) => settlement.followers.clear(),
            Some(Flaw::RetriesWithoutARequest) => {
                for hold in &mut settlement.holds {
                    hold.failure.retry = Retry::After(Duration::from_secs(3600));
                }
            }
            Some(Flaw::CountsARepeatedHold) => {
                for hold in &mut settlement.holds {
                    let row: Option<OutboxEvent> = self.row(hold.id).await?;
                    hold.attempts_made = row.map_or(0, |row| row.lifecycle().attempts_made());
                }
            }
            _ => {}
        }
        Ok(settlement)
    }
}

/// Whether it was scheduled for later.
fn is_scheduled(event: &LaneEvent) -> bool {
    let life = event.event.lifecycle();
    life.scheduled_at() > Some(life.created_at() + chrono::TimeDelta::seconds(1))
}

#[async_trait]
impl<S: OutboxRepository> OrderedLanes for Broken<S> {
    async fn lease(&self, request: &LeaseRequest) -> Result<LaneShare> {
        self.note_progress();
        let relays = self.notes().relays.clone();
        if self.has(Flaw::LeasesNeverExpire) {
            for other in relays.values() {
                self.inner_lanes().lease(other).await?;
            }
        }
        let share = self.inner_lanes().lease(request).await;
        let mut share = share.or_else(|error| self.leased_all_the_same(request.owner, error))?;
        let mut notes = self.notes();
        notes.leases += 1;
        notes.relays.insert(request.owner, request.clone());
        for lease in &mut share.leases {
            notes.holders.insert(lease.lane, (request.owner, *lease));
            match self.flaw {
                Some(Flaw::ATakeOverKeepsTheEpoch) => lease.epoch = 1,
                Some(Flaw::ARenewalRaisesTheEpoch) => lease.epoch += notes.leases,
                _ => {}
            }
        }
        match self.flaw {
            Some(Flaw::SharesUnfairly) => share.fair_share = notes.holders.len(),
            Some(Flaw::KeepsALaneBack) => drop(share.leases.pop()),
            Some(Flaw::LeasesTheLanesOfOthers) => {
                share.leases = notes.holders.values().map(|(_, lease)| *lease).collect();
            }
            _ => {}
        }
        Ok(share)
    }

    async fn release(&self, owner: OwnerId, leases: &[Lease]) -> Result<()> {
        match self.flaw {
            Some(Flaw::AReleaseKeepsTheLanes) => Ok(()),
            Some(Flaw::ReleasesTheLanesOfOthers) => {
                let holders = self.notes().holders.clone();
                for (holder, lease) in leases.iter().filter_map(|lease| holders.get(&lease.lane)) {
                    self.inner_lanes().release(*holder, &[*lease]).await?;
                }
                Ok(())
            }
            _ => self.inner_lanes().release(owner, leases).await,
        }
    }

    async fn leave(&self, owner: OwnerId) -> Result<()> {
        if self.has(Flaw::WhoLeavesKeepsTheLanes) {
            return Ok(());
        }
        self.notes().relays.remove(&owner);
        self.inner_lanes().leave(owner).await
    }

    async fn fetch(
        &self,
        lanes: &[LaneRead],
        in_flight: &[EventId],
        resting: &[String],
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        let unlimited: Vec<LaneRead> = lanes.iter().map(|read| LaneRead { limit: 1000, ..*read }).collect();
        let every: Vec<LaneRead> =
            self.notes().holders.keys().map(|lane| LaneRead::all(*lane, 1000)).collect();
        let lanes = match self.flaw {
            Some(Flaw::AFetchIgnoresTheLimitsOfLanes) => &unlimited,
            Some(Flaw::FetchesEveryLane) => &every,
            _ => lanes,
        };
        let without = if self.has(Flaw::FetchesWhatIsInFlight) { &[] } else { in_flight };
        let resting = if self.has(Flaw::FetchesWhatRests) { &[] } else { resting };
        let bound = if self.has(Flaw::AFetchIgnoresItsBytes) { u64::MAX } else { max_bytes };
        let mut fetched = self.inner_lanes().fetch(lanes, without, resting, bound).await?.events;
        if self.gives_bounds() {
            return self.bounded(lanes, fetched).await;
        }
        if self.has(Flaw::PromisesADayOfQuiet) {
            let quiet_for = Some(Duration::from_secs(24 * 3_600));
            return Ok(LaneFetch { quiet_for, ..fetched.into() });
        }
        let mut notes = self.notes();
        notes.seqs.extend(fetched.iter().map(|event| (event.event.id(), event.seq)));
        notes.read.extend(fetched.iter().map(|event| (event.event.id(), (event.lane, event.seq))));
        let is_passed = |event: &LaneEvent| notes.read_to.get(&event.lane).is_some_and(|to| event.seq <= *to);
        match self.flaw {
            Some(Flaw::FetchesNothingScheduled) => fetched.retain(|event| !is_scheduled(event)),
            Some(Flaw::FetchesNothingWithoutAKey) => {
                fetched.retain(|event| event.event.partition_key().is_some());
            }
            Some(Flaw::EventsWithoutAKeyHoldEachOther) if notes.holds => {
                fetched.retain(|event| event.is_held_head || event.event.partition_key().is_some());
            }
            Some(Flaw::FollowersWaitForNothing) => {
                fetched.retain(|event| !notes.followers.contains(&event.event.id()));
            }
            Some(Flaw::FetchesLanesBackwards) => fetched.reverse(),
            Some(Flaw::ANewOwnerBeginsWhereReadingEnded) => fetched.retain(|event| !is_passed(event)),
            Some(Flaw::ANewOwnerMissesTheReleased) => {
                let is_released = |event: &LaneEvent| notes.followers.contains(&event.event.id());
                fetched.retain(|event| !is_passed(event) || !is_released(event));
            }
            Some(Flaw::AFetchTellsAnotherTime) => {
                fetched.iter_mut().for_each(|event| event.read_at = event.event.lifecycle().created_at());
            }
            Some(Flaw::FetchesBehindACursor) => {
                let cursor = in_flight.iter().filter_map(|id| notes.seqs.get(id)).max().copied();
                fetched.retain(|event| cursor.is_none_or(|cursor| event.seq > cursor));
            }
            Some(Flaw::NeverFetchesALargeEvent) => {
                let mut bytes = 0;
                fetched.retain(|event| {
                    bytes += event.event.payload().as_str().len() as u64;
                    bytes <= max_bytes
                });
            }
            Some(Flaw::FollowersArePublishable) => {
                fetched.iter_mut().for_each(|event| event.is_behind_head = false);
            }
            Some(Flaw::FollowersJoinAtTheEnd) => {
                fetched.sort_by_key(|event| notes.followers.contains(&event.event.id()));
            }
            _ => {}
        }
        Ok(fetched.into())
    }

    async fn settle(&self, owner: OwnerId, leases: &[Lease], settlement: &LaneSettlement) -> Result<Settled> {
        self.notes().followers.extend(&settlement.followers);
        self.notes().holds |= !settlement.holds.is_empty();
        self.notes().completed.extend(&settlement.completed);
        if self.has(Flaw::ALostLaneStopsTheOthers) {
            let nothing = KeyRef {
                lane: omni_box_core::LaneId::new(0),
                topic: String::new(),
                partition_key: String::new(),
            };
            let nothing = LaneSettlement { release: vec![nothing], ..LaneSettlement::default() };
            let settled = self.inner_lanes().settle(owner, leases, &nothing).await?;
            if !settled.lost.is_empty() {
                return Ok(settled);
            }
        }
        let settlement = self.changed(settlement.clone()).await?;
        let settled = self.settle_by(self.checked(owner, leases), &settlement).await?;
        if self.has(Flaw::SettlesLostLanes) {
            let holders = self.notes().holders.clone();
            let current = settled.lost.iter().filter_map(|lane| holders.get(lane)).copied().collect();
            self.settle_by(current, &settlement).await?;
        }
        if self.has(Flaw::SettlesWhatIsNotPending) {
            self.complete_failed::<OutboxEvent>(&settlement.completed).await?;
        }
        Ok(settled)
    }

    async fn announce(&self, owner: OwnerId, leases: &[Lease], activity: Activity) -> Result<()> {
        if self.has(Flaw::AnIdleOwnerLosesItsLanes) && activity == Activity::Idle {
            return self.inner_lanes().leave(owner).await;
        }
        self.inner_lanes().announce(owner, leases, activity).await
    }
}
