//! The outbox table.

use chrono::{DateTime, Utc};
use omni_box_core::store::DeadLetters;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Created, DeliveryMode, DistributedLocking, Error, ErrorKind,
    Event, EventId, EventRepository, Failure, FetchFilters, OrderedLanes, OutboxEvent, OutboxRepository,
    Result, RetentionPolicies, Wakeup,
};

use super::lane::Lane;
use super::state::State;
use super::table::{OutboxRow, Row};
use super::{MemoryConn, MemoryStore};

impl EventRepository<OutboxEvent> for MemoryStore {
    async fn create(&self, conn: &mut MemoryConn, event: &OutboxEvent) -> Result<Created<OutboxEvent>> {
        let mut created = conn.create::<OutboxRow>(std::slice::from_ref(event)).await?;
        Ok(created.pop().expect("one for each event"))
    }

    async fn create_many(
        &self,
        conn: &mut MemoryConn,
        events: &[OutboxEvent],
    ) -> Result<Vec<Created<OutboxEvent>>> {
        conn.create::<OutboxRow>(events).await
    }

    async fn get_by_id(&self, conn: &mut MemoryConn, id: EventId) -> Result<Option<OutboxEvent>> {
        conn.event::<OutboxRow>(id)
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<OutboxEvent>> {
        OutboxEvent::check_filters(filters)?;
        let tables = self.committed();
        let due = tables.outbox.due(limit, filters, None, self.shared.now());
        Ok(due.into_iter().map(OutboxRow::event).collect())
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        self.claim_one::<OutboxRow>(id, token).await
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        Ok(!self.complete_claimed::<OutboxRow>(&[id], token).await?.is_empty())
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        self.fail_claimed::<OutboxRow>(id, token, failure).await
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<OutboxEvent>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<OutboxEvent>> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters<OutboxEvent>> {
        Some(self)
    }

    fn retention(&self) -> Option<&dyn RetentionPolicies<OutboxEvent>> {
        Some(self)
    }
}

impl OutboxRepository for MemoryStore {
    async fn delivery_mode(&self) -> Result<DeliveryMode> {
        Ok(self.shared.state().mode)
    }

    fn lanes(&self) -> Option<&dyn OrderedLanes> {
        Some(self)
    }

    fn wakeup(&self) -> Option<Box<dyn Wakeup>> {
        Some(Box::new(self.shared.wake.waiter()))
    }
}

impl MemoryStore {
    /// Changes the delivery mode.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) while lanes are leased or events claimed: stop the relays first.
    /// [`Unsupported`](ErrorKind::Unsupported) for a mode that is neither [`Lanes`](DeliveryMode::Lanes) nor [`Rows`](DeliveryMode::Rows).
    pub fn set_delivery_mode(&self, mode: DeliveryMode) -> Result<()> {
        if !matches!(mode, DeliveryMode::Lanes | DeliveryMode::Rows) {
            let error = format!("delivery mode {mode} is not available, use lanes or rows");
            return Err(Error::new(ErrorKind::Unsupported, error));
        }
        let mut state = self.shared.state();
        let (leased, claimed) = undrained(&state, self.shared.now());
        if leased + claimed > 0 {
            let error = format!(
                "{leased} lanes are leased and {claimed} pending events are claimed: stop all relays, then change the mode"
            );
            return Err(Error::new(ErrorKind::Misconfigured, error));
        }
        // leases that have run out end: an owner that hung must not renew them in another mode
        state.lanes.iter_mut().for_each(Lane::give_back);
        state.mode = mode;
        Ok(())
    }
}

fn undrained(state: &State, now: DateTime<Utc>) -> (usize, usize) {
    let leased = state.lanes.iter().filter(|lane| lane.is_leased(now)).count();
    let claimed = state.tables.outbox.pending().filter(|row| row.life.lock.is_some()).count();
    (leased, claimed)
}
