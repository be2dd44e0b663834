//! Create, look up, fetch and mark.

use omni_box_core::store::DeadLetters;
use omni_box_core::{
    BatchSize, BulkOperations, ClaimToken, Clock, Created, DistributedLocking, ErrorKind, EventId,
    EventRepository, EventStatus, Failure, FetchFilters, Result, RetentionPolicies,
};

use super::Broken;
use super::flaw::Flaw;
use super::kind::{Kind, fresh_life};

/// More than any case has events.
pub(super) fn no_limit() -> BatchSize {
    BatchSize::new(1000).unwrap()
}

impl<S> Broken<S> {
    pub(super) fn limit(&self, flaw: Flaw, limit: BatchSize) -> BatchSize {
        if self.flaw == Some(flaw) { no_limit() } else { limit }
    }
}

impl<S: omni_box_core::Store> Broken<S> {
    async fn store<E: Kind>(&self, conn: &mut S::Conn, events: &[E]) -> Result<Vec<Created<E>>>
    where
        S: EventRepository<E>,
    {
        self.check_transaction()?;
        self.notes().created.extend(events.iter().map(E::id));
        match self.flaw {
            Some(Flaw::LosesTraces) => {
                let events: Vec<E> = events.iter().map(E::untraced).collect();
                self.inner.create_many(conn, &events).await
            }
            Some(Flaw::DropsANamesake) => match self.inner.create_many(conn, events).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    Ok(events.iter().cloned().map(Created::New).collect())
                }
                created => created,
            },
            Some(Flaw::CreatesOutsideTheTransaction | Flaw::ClaimsTheUncommitted) => {
                let mut tx = self.inner.begin().await?;
                let created = self.inner.create_many(&mut tx, events).await?;
                self.inner.commit(tx).await?;
                Ok(created)
            }
            Some(Flaw::StoresARepeat) => {
                let events: Vec<E> = events.iter().map(E::anonymous).collect();
                self.inner.create_many(conn, &events).await
            }
            Some(Flaw::CallsARepeatNew) => {
                let created = self.inner.create_many(conn, events).await?;
                Ok(created.into_iter().map(|created| Created::New(created.into_event())).collect())
            }
            _ => self.inner.create_many(conn, events).await,
        }
    }

    /// The token that a mark counts with.
    pub(super) async fn token<E: Kind>(&self, id: EventId, token: &ClaimToken) -> Result<ClaimToken>
    where
        S: EventRepository<E>,
    {
        let claims = self.notes().claims.get(&id).cloned().unwrap_or_default();
        match (self.flaw, claims.last()) {
            (Some(Flaw::MarksWithoutTheClaim), Some(latest)) => Ok(latest.clone()),
            (Some(Flaw::MarksWithoutTheClaim), None) => {
                self.inner.mark_processing(id, token).await?;
                Ok(token.clone())
            }
            (Some(Flaw::MarksByAStaleClaim), Some(latest)) if claims.contains(token) => Ok(latest.clone()),
            _ => Ok(token.clone()),
        }
    }

    pub(super) fn note_claim(&self, id: EventId, token: &ClaimToken) {
        self.notes().claims.entry(id).or_default().push(token.clone());
    }
}

impl<E: Kind, S: EventRepository<E>> EventRepository<E> for Broken<S> {
    async fn create(&self, conn: &mut S::Conn, event: &E) -> Result<Created<E>> {
        let mut created = self.store(conn, std::slice::from_ref(event)).await?;
        Ok(created.remove(0))
    }

    async fn create_many(&self, conn: &mut S::Conn, events: &[E]) -> Result<Vec<Created<E>>> {
        match (self.flaw, events) {
            (Some(Flaw::LosesTheLastOfABatch), [rest @ .., last]) => {
                let mut created = self.store(conn, rest).await?;
                created.push(Created::New(last.clone()));
                Ok(created)
            }
            (Some(Flaw::StoresABatchBackwards), _) => {
                let backwards: Vec<E> = events.iter().rev().cloned().collect();
                let mut created = self.store(conn, &backwards).await?;
                created.reverse();
                Ok(created)
            }
            _ => self.store(conn, events).await,
        }
    }

    async fn get_by_id(&self, conn: &mut S::Conn, id: EventId) -> Result<Option<E>> {
        let first = self.notes().created.first().copied().filter(|_| self.has(Flaw::AnUnknownIdIsTheFirst));
        let event = match self.flaw {
            Some(Flaw::CreatesOutsideTheTransaction | Flaw::ClaimsTheUncommitted) => self.row(id).await?,
            _ => self.inner.get_by_id(conn, id).await?,
        };
        let event = match (event, first) {
            (None, Some(first)) => self.inner.get_by_id(conn, first).await?,
            (event, _) => event,
        };
        let event: Option<E> = event.map(|event: E| match self.flaw {
            Some(Flaw::TimesAreTheProgramsOwn) => event.with_life(fresh_life(&event)),
            _ => event,
        });
        let notes = self.notes();
        let event: Option<E> = event.filter(|_| !notes.deleted.contains(&id));
        Ok(event.map(|event| match notes.lives.get(&id) {
            Some(life) => event.with_life(life.clone()),
            None => event,
        }))
    }

    async fn fetch_pending(&self, limit: BatchSize, filters: &FetchFilters) -> Result<Vec<E>> {
        let filters = if self.has(Flaw::FetchIgnoresFilters) { &FetchFilters::new() } else { filters };
        let limit = self.limit(Flaw::FetchIgnoresItsLimit, limit);
        let mut fetched: Vec<E> = self.inner.fetch_pending(limit, filters).await?;
        let rows: Vec<E> = self.rows().await?;
        let now = self.clock.now();
        let is_waiting =
            |row: &E| row.status() == EventStatus::Pending && row.lifecycle().attempts_made() > 0;
        let is_untried =
            |row: &E| row.status() == EventStatus::Pending && row.lifecycle().attempts_made() == 0;
        match self.flaw {
            Some(Flaw::FetchesBackwards) => fetched.reverse(),
            Some(Flaw::FetchesWhatIsClaimed) => {
                fetched.extend(rows.into_iter().filter(|row| row.lifecycle().lock().is_some()));
            }
            Some(Flaw::FetchesBeforeWhatIsClaimed) => fetched.extend(self.first_free().await?),
            Some(Flaw::FetchesTheScheduledEarly) => {
                let is_early = |row: &E| row.lifecycle().scheduled_at().is_some_and(|at| at > now);
                fetched.extend(rows.into_iter().filter(|row| is_untried(row) && is_early(row)));
            }
            Some(Flaw::NeverFetchesThePast) => {
                let is_past = |row: &E| row.lifecycle().scheduled_at() < Some(row.lifecycle().created_at());
                fetched.retain(|row| !is_past(row));
            }
            Some(Flaw::EventsWithoutAKeyAreOneKey) => {
                let mut is_first = true;
                fetched.retain(|row| row.has_key() || std::mem::take(&mut is_first));
            }
            Some(Flaw::AFailureForGoodHoldsItsKey)
                if rows.iter().any(|row| row.status() == EventStatus::Failed) =>
            {
                fetched.clear();
            }
            Some(Flaw::ARetryHoldsNothing) if rows.iter().any(is_waiting) => {
                let known: Vec<EventId> = fetched.iter().map(E::id).collect();
                fetched.extend(rows.into_iter().filter(|row| is_untried(row) && !known.contains(&row.id())));
            }
            _ => {}
        }
        Ok(fetched)
    }

    async fn mark_processing(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        if self.notes().kept_claims.contains(&id) {
            return Ok(false);
        }
        let is_claimed = self.inner.mark_processing(id, token).await?;
        if is_claimed {
            self.note_claim(id, token);
        }
        let status = self.row::<E>(id).await?.map(|row| row.status());
        Ok(match self.flaw {
            Some(Flaw::AnEventIsClaimedByTwo) => is_claimed || status == Some(EventStatus::Pending),
            Some(Flaw::ClaimsWhatIsNotPending) => status.is_some(),
            _ => is_claimed,
        })
    }

    async fn mark_completed(&self, id: EventId, token: &ClaimToken) -> Result<bool> {
        let token = self.token(id, token).await?;
        let is_marked = self.inner.mark_completed(id, &token).await?;
        if !is_marked && self.has(Flaw::CompletesWhatIsNotPending) {
            return self.complete_failed(&[id]).await;
        }
        if !is_marked && self.has(Flaw::CompletesTwice) {
            return Ok(self.row::<E>(id).await?.is_some_and(|row| row.status() == EventStatus::Completed));
        }
        Ok(is_marked)
    }

    async fn mark_failed(&self, id: EventId, token: &ClaimToken, failure: &Failure) -> Result<bool> {
        let token = self.token(id, token).await?;
        let is_marked = self.inner.mark_failed(id, &token, failure).await?;
        if is_marked && self.has(Flaw::AFailureKeepsTheClaim) {
            self.inner.mark_processing(id, &token).await?;
        }
        if is_marked && self.has(Flaw::CountsAFailureTwice) {
            self.inner.mark_processing(id, &token).await?;
            self.inner.mark_failed(id, &token, failure).await?;
        }
        Ok(is_marked)
    }

    fn bulk(&self) -> Option<&dyn BulkOperations<E>> {
        Some(self)
    }

    fn locking(&self) -> Option<&dyn DistributedLocking<E>> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters<E>> {
        self.inner.dead_letters().is_some().then_some(self)
    }

    fn retention(&self) -> Option<&dyn RetentionPolicies<E>> {
        Some(self)
    }
}
