//! How far lanes have been read by all their owners: moved on behind what is done, and swept for what was made due by hand.
//!
//! What is completed stays in the index of what is in line, so that a completion writes no index. Readers begin above `read_to` of a lane
//! instead, which says that nothing is due at or below it but what was set aside. The store asks the table for that, not its callers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use omni_box_core::{Lease, OwnerId, Result};
use tokio::time::{Instant, timeout};

use crate::outbox::lane_number;
use crate::{PgStore, Table};

/// A slice of the table is swept this often at most.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

/// What an owner's last calls have reached. In memory only: the table knows better.
#[derive(Debug)]
struct Reached {
    leases: Vec<Lease>,
    /// The lowest `read_to` of its lanes, if all could be looked at.
    read_to: Option<i64>,
    /// Where the last slice of a sweep has ended.
    swept_to: i64,
    sweep_due: Instant,
}

impl Reached {
    fn new(now: Instant) -> Self {
        Self { leases: Vec::new(), read_to: None, swept_to: i64::MIN, sweep_due: now }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<HashMap<OwnerId, Reached>>);

impl Progress {
    fn owners(&self) -> MutexGuard<'_, HashMap<OwnerId, Reached>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets an owner.
    pub(crate) fn forget(&self, owner: OwnerId) {
        self.owners().remove(&owner);
    }

    /// Whether `read_to` may move, given what is proven; and behind which `seq` a slice is to be swept, if one is.
    fn begin(&self, owner: OwnerId, leases: &[Lease], proven: Option<i64>) -> (bool, Option<i64>) {
        let now = Instant::now();
        let mut owners = self.owners();
        let reached = owners.entry(owner).or_insert_with(|| Reached::new(now));
        if reached.leases != leases {
            (reached.leases, reached.read_to) = (leases.to_vec(), None);
        }
        let is_swept = now >= reached.sweep_due;
        if is_swept {
            reached.sweep_due = now + SWEEP_PAUSE;
        }
        // with a sweep, too: it finds a sequence that was set back
        let is_moved = is_swept || reached.read_to.is_none() || reached.read_to < proven;
        (is_moved, is_swept.then_some(reached.swept_to))
    }

    fn note(&self, owner: OwnerId, change: impl FnOnce(&mut Reached)) {
        if let Some(reached) = self.owners().get_mut(&owner) {
            change(reached);
        }
    }
}

impl PgStore {
    /// Moves `read_to` of leased lanes on and sweeps a slice, within `limit`. A failure costs nothing but the walk of the next owner.
    /// `proven` was taken before any snapshot of this call.
    pub(crate) async fn move_on(
        &self,
        owner: OwnerId,
        leases: &[Lease],
        proven: Option<(i64, String)>,
        limit: Duration,
    ) {
        match timeout(limit, self.try_move_on(owner, leases, proven)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(kind = ?error.kind(), "lanes were not moved on"),
            Err(_) => tracing::debug!("lanes were not moved on in time"),
        }
    }

    async fn try_move_on(
        &self,
        owner: OwnerId,
        leases: &[Lease],
        proven: Option<(i64, String)>,
    ) -> Result<()> {
        if leases.is_empty() {
            return Ok(());
        }
        let (proven, server) = proven.unzip();
        let (is_moved, swept_to) = self.progress.begin(owner, leases, proven);
        let lanes: Vec<i16> = leases.iter().map(|lease| lane_number(lease.lane)).collect();
        if is_moved {
            let mut session = self.session().await?;
            let read_to: Option<i64> = sqlx::query_scalar(self.queries.lanes_advance.sql())
                .bind(owner.as_uuid())
                .bind(&lanes)
                .bind(self.config.qualified(Table::OutboxEvents))
                .bind(proven)
                .bind(server)
                .fetch_one(&mut *session)
                .await
                .map_err(self.failed("move lanes on"))?;
            session.finish().await?;
            self.progress.note(owner, |reached| reached.read_to = read_to);
        }
        if let Some(after) = swept_to {
            let mut session = self.session().await?;
            let end: Option<i64> = sqlx::query_scalar(self.queries.lanes_sweep.sql())
                .bind(owner.as_uuid())
                .bind(&lanes)
                .bind(after)
                .fetch_one(&mut *session)
                .await
                .map_err(self.failed("sweep lanes"))?;
            session.finish().await?;
            self.progress.note(owner, |reached| reached.swept_to = end.unwrap_or(i64::MIN));
        }
        Ok(())
    }
}
