//! What a worker says of an event that it has claimed.

use chrono::{DateTime, Utc};

use super::{ClaimToken, EventStatus, Failure, LifecycleRecord};

/// What a worker says of an event that it has claimed. Each mark changes a pending event only, and all but [`Claim`](Self::Claim) only
/// while its token has it. A worker that was away for too long changes nothing.
///
/// ```
/// use chrono::Utc;
/// use omni_box_core::event::Mark;
/// use omni_box_core::{
///     ClaimToken, Event, LifecycleRecord, NewOutboxEvent, OmniBoxDomainService, OwnerId, WorkerId,
/// };
///
/// let new = NewOutboxEvent::from_json("order.placed", "orders", r#"{"order": 7}"#);
/// let event = OmniBoxDomainService::default().create_outbox_event(new)?;
/// let (mut life, now) = (LifecycleRecord::stored(event.lifecycle(), Utc::now()), Utc::now());
/// let [first, second] = [(); 2].map(|()| ClaimToken::new(&WorkerId::new("relay").unwrap(), OwnerId::generate()));
///
/// assert!(life.mark(&Mark::Claim, &first, now));
/// assert!(!life.mark(&Mark::Claim, &second, now), "the first one has it");
/// assert!(!life.mark(&Mark::Complete, &second, now));
/// assert!(life.mark(&Mark::Complete, &first, now));
/// assert!(!life.mark(&Mark::Release, &first, now), "it is not pending any more");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// The token claims what no token has, or what it has already.
    Claim,
    /// The token's claim is as young as this mark.
    Refresh,
    /// The claim is given back. No attempt is counted.
    Release,
    /// It was published or handled.
    Complete,
    /// It was not.
    Fail(Failure),
}

impl LifecycleRecord {
    /// Changes a pending event as the mark of a token says; `false`: the mark does not apply, and nothing was changed.
    #[must_use]
    pub fn mark(&mut self, mark: &Mark, token: &ClaimToken, now: DateTime<Utc>) -> bool {
        let is_pending = self.status == EventStatus::Pending;
        let is_free = matches!(mark, Mark::Claim) && is_pending && self.lock.is_none();
        if !is_free && !self.is_claimed_by(token) {
            return false;
        }
        match mark {
            Mark::Claim | Mark::Refresh => self.claim(token, now),
            Mark::Release => self.release(now),
            Mark::Complete => self.complete(now),
            Mark::Fail(failure) => self.fail(failure, now),
        }
        true
    }

    /// Completes a pending event, or records its failure; `false`: it was not pending, and nothing was changed. Its claim ends, whichever
    /// token has it.
    #[must_use]
    pub fn settle(&mut self, failure: Option<&Failure>, now: DateTime<Utc>) -> bool {
        let is_pending = self.status == EventStatus::Pending;
        match failure {
            _ if !is_pending => {}
            None => self.complete(now),
            Some(failure) => self.fail(failure, now),
        }
        is_pending
    }
}
