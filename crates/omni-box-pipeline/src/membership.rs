//! A worker's word in the store that it handles a group's messages, and how: those who do it in another way are refused.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use omni_box_core::store::GroupHandling;
use omni_box_core::{ConsumerGroup, Error, ErrorKind, FailureClass, InboxRepository, OwnerId, Result};
use tokio::time::{Instant, sleep, sleep_until};

use crate::deadline::{FAREWELL, within};
use crate::settings::misconfigured;
use crate::transact::Database;

/// How long a member counts that has not renewed.
const TTL: Duration = Duration::from_secs(30);
/// How often it renews, and how long a call may take.
const RENEWAL: Duration = Duration::from_secs(5);

/// A member of a group, as one worker is.
pub(crate) struct Membership<S> {
    store: S,
    group: ConsumerGroup,
    handling: GroupHandling,
    member: OwnerId,
    /// When it is to renew; `None`: it has not joined.
    renew_at: Mutex<Option<Instant>>,
}

impl<S: InboxRepository> Membership<S> {
    pub(crate) fn new(store: S, group: ConsumerGroup, handling: GroupHandling) -> Self {
        Self { store, group, handling, member: OwnerId::generate(), renew_at: Mutex::default() }
    }

    fn renew_at(&self) -> Option<Instant> {
        *self.renew_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_renewal(&self, at: Option<Instant>) {
        *self.renew_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Joins, or renews if it is time to. A store that keeps no members knows of no others.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when others handle the group's messages in another way. When the database fails.
    pub(crate) async fn keep(&self) -> Result<()> {
        let Some(members) = self.store.members() else { return Ok(()) };
        let now = Instant::now();
        if self.renew_at().is_some_and(|at| now < at) {
            return Ok(());
        }
        match within(RENEWAL, members.join(&self.group, self.member, self.handling, TTL)).await? {
            true => {
                self.set_renewal(Some(now + RENEWAL));
                Ok(())
            }
            false => Err(self.refused()),
        }
    }

    /// The same for one call of many: an outage is what the call itself meets, and the next one asks again.
    ///
    /// # Errors
    /// As [`keep`](Self::keep), an outage apart.
    pub(crate) async fn keep_if_known(&self) -> Result<()> {
        match self.keep().await {
            Err(error) if error.class() == FailureClass::Infrastructure => Ok(()),
            kept => kept,
        }
    }

    /// Joins, and waits out an outage of the database at its gate, which is open then.
    ///
    /// # Errors
    /// As [`keep`](Self::keep), an outage apart.
    ///
    /// # Cancel safety
    /// A member whose future is dropped may have joined; its time ends by itself.
    pub(crate) async fn join(&self, database: &Database<S>) -> Result<()> {
        loop {
            match self.keep().await {
                Err(error) if error.class() == FailureClass::Infrastructure => {
                    sleep(database.close(&error)).await;
                }
                joined => return joined.map(|()| database.open()),
            }
        }
    }

    /// Renews again and again; returns when others handle the group's messages in another way, as they may once this member was frozen.
    pub(crate) async fn lost(&self) -> Error {
        loop {
            match self.renew_at() {
                Some(at) if self.store.members().is_some() => sleep_until(at).await,
                _ => std::future::pending().await,
            }
            if let Err(error) = self.keep().await {
                if error.kind() == ErrorKind::Misconfigured {
                    return error;
                }
                sleep(RENEWAL / 5).await;
            }
        }
    }

    /// Says that it has ended, if that can be done soon.
    pub(crate) async fn leave(&self) {
        if let (Some(members), Some(_)) = (self.store.members(), self.renew_at()) {
            self.set_renewal(None);
            if let Err(error) = within(FAREWELL, members.leave(self.member)).await {
                tracing::debug!(error = error.chain(), "cannot leave the group, its time ends by itself");
            }
        }
    }

    fn refused(&self) -> Error {
        let (ours, theirs) = match self.handling {
            GroupHandling::Direct => (GroupHandling::Direct, GroupHandling::Stored),
            GroupHandling::Stored => (GroupHandling::Stored, GroupHandling::Direct),
        };
        misconfigured(format!(
            "the messages of group {} are handled by {theirs}, in this process or another one, and {ours} would handle them out of order: \
             end those first (one that was killed counts for {TTL:?})",
            self.group
        ))
    }
}
