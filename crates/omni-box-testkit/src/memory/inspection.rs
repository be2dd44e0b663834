//! A look at the tables.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use omni_box_core::store::{Count, GroupSample, Inspection, OutboxSample, Sample};
use omni_box_core::{DeliveryMode, EventStatus, Result};

use super::MemoryStore;
use super::state::State;
use super::table::OutboxRow;

#[async_trait]
impl Inspection for MemoryStore {
    async fn sample(&self) -> Result<Sample> {
        let now = self.shared.now();
        let state = self.shared.state();
        let mut sample = Sample::default();
        sample.outbox = sample_outbox(&state, now);
        sample.groups = sample_groups(&state, now);
        Ok(sample)
    }
}

fn sample_outbox(state: &State, now: DateTime<Utc>) -> OutboxSample {
    let table = &state.tables.outbox;
    let is_due = |row: &&OutboxRow| !row.held && row.is_due(now);
    let heads = |is_parked: bool| {
        let is_one = move |row: &&OutboxRow| row.held && row.head && row.hold_until.is_none() == is_parked;
        table.pending().filter(is_one)
    };
    let due_since = |row: &OutboxRow| match row.is_deferred() {
        true => row.life.scheduled_at.unwrap_or(row.life.created_at),
        false => row.life.created_at,
    };
    let mut outbox = OutboxSample::default();
    outbox.oldest_due_age = age(table.pending().filter(is_due).map(due_since).min(), now);
    outbox.backlog = count(table.pending().filter(is_due).count());
    outbox.retrying_keys = count(heads(false).count());
    outbox.parked_keys = count(heads(true).count());
    let held_since = heads(false).chain(heads(true)).map(|row| row.life.created_at).min();
    outbox.oldest_held_age = age(held_since, now);
    outbox.failed = count(table.rows().filter(|row| row.life.status == EventStatus::Failed).count());
    let unowned = state.lanes.iter().filter(|lane| !lane.is_leased(now)).count();
    outbox.unowned_lanes = (state.mode == DeliveryMode::Lanes).then_some(unowned as u64);
    outbox
}

fn sample_groups(state: &State, now: DateTime<Utc>) -> Vec<GroupSample> {
    /// What is found of a group.
    #[derive(Default)]
    struct Found {
        due: Vec<DateTime<Utc>>,
        failed: usize,
        quarantined: usize,
    }
    let mut groups: BTreeMap<String, Found> = BTreeMap::new();
    for (group, ..) in state.partitions.keys() {
        groups.entry(group.clone()).or_default();
    }
    for (group, ..) in state.tables.quarantine.keys() {
        groups.entry(group.clone()).or_default().quarantined += 1;
    }
    for row in state.tables.inbox.rows().filter(|row| row.life().status != EventStatus::Completed) {
        let found = groups.entry(row.event().consumer_group().as_str().to_owned()).or_default();
        let due_at = row.life().scheduled_at.unwrap_or(row.life().created_at);
        match row.life().status {
            EventStatus::Failed => found.failed += 1,
            _ if due_at <= now => found.due.push(due_at),
            _ => {}
        }
    }
    let sample = |(name, found): (String, Found)| {
        let mut group = GroupSample::new(name);
        group.pending = count(found.due.len());
        group.oldest_pending_age = age(found.due.into_iter().min(), now);
        group.failed = count(found.failed);
        group.quarantined = count(found.quarantined);
        group
    };
    groups.into_iter().take(Sample::GROUPS).map(sample).collect()
}

fn count(found: usize) -> Count {
    Count::of(found as u64)
}

fn age(since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Duration> {
    Some((now - since?).to_std().unwrap_or_default())
}
