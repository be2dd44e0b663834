//! Samples.

use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::store::{Count, GroupSample, Inspection, Sample};
use omni_box_core::{Result, Store};

use super::Broken;
use super::flaw::Flaw;

#[async_trait]
impl<S: Store> Inspection for Broken<S> {
    async fn sample(&self) -> Result<Sample> {
        let mut sample = self.inner.inspection().unwrap().sample().await?;
        let outbox = &mut sample.outbox;
        match self.flaw {
            Some(Flaw::ASampleForgetsWhatIsDue) => outbox.backlog = Count::of(0),
            Some(Flaw::ASampleAgesWhatWaits) => outbox.oldest_due_age = Some(Duration::from_secs(3600)),
            Some(Flaw::ASampleTakesParkedForRetrying) => {
                let (retrying, parked) = (outbox.retrying_keys.count, outbox.parked_keys.count);
                (outbox.retrying_keys, outbox.parked_keys) = (Count::of(retrying + parked), Count::of(0));
            }
            Some(Flaw::ASampleForgetsFailures) => {
                outbox.failed = Count::of(0);
                sample.groups.iter_mut().for_each(|group| group.failed = Count::of(0));
            }
            Some(Flaw::ASampleMissesLanes) => outbox.unowned_lanes = Some(16),
            Some(Flaw::ASampleKnowsOneGroup) => {
                let mut all = GroupSample::new("shipping");
                all.pending = Count::of(sample.groups.iter().map(|group| group.pending.count).sum());
                sample.groups = if sample.groups.is_empty() { Vec::new() } else { vec![all] };
            }
            Some(Flaw::ASampleTakesWaitingForDue) => {
                sample.groups.iter_mut().for_each(|group| group.pending = Count::of(2));
            }
            _ => {}
        }
        Ok(sample)
    }
}
