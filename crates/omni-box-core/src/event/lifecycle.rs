//! Where an event is in its life: pending, completed or failed; locked or not; how often tried.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{ClaimToken, Failure, Retry};
use crate::error::{Error, Result};
use crate::id::WorkerId;
use crate::limits::cut_error;

/// Status of an event, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// Waits to be published or handled.
    Pending,
    /// Published or handled.
    Completed,
    /// Given up; can be requeued.
    Failed,
}

impl EventStatus {
    /// The text stored in the `status` column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for EventStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Self::Pending, Self::Completed, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Error::invalid(format!("status {text:?} is none of pending, completed, failed")))
    }
}

/// Who works on an event, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The worker.
    pub by: WorkerId,
    /// Since when.
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Pending(Option<Lock>),
    Completed(DateTime<Utc>),
    Failed,
}

/// Where an event is in its life. Its invariants hold by construction: completed exactly with a completion time, locked
/// only while pending, attempts never above the maximum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    state: State,
    attempts_made: u32,
    max_attempts: u32,
    last_error: Option<String>,
    scheduled_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// The same as plain columns, as a store reads them. A store without columns keeps them serialized, by the names of the fields, and
/// changes them with what is here. Others say the same in SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleRecord {
    /// `status`
    pub status: EventStatus,
    /// `attempts_made`
    pub attempts_made: u32,
    /// `max_attempts`
    pub max_attempts: u32,
    /// `last_error`
    pub last_error: Option<String>,
    /// `scheduled_at`
    pub scheduled_at: Option<DateTime<Utc>>,
    /// `completed_at`
    pub completed_at: Option<DateTime<Utc>>,
    /// `locked_at` and `locked_by`
    pub lock: Option<Lock>,
    /// `created_at`
    pub created_at: DateTime<Utc>,
    /// `updated_at`
    pub updated_at: DateTime<Utc>,
}

/// A time that no clock reaches, for what waits for an operator: the last day of the year 9999.
const ON_REQUEST: DateTime<Utc> = match DateTime::from_timestamp(253_402_214_400, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

impl LifecycleRecord {
    /// The life of an event that is stored at this time: pending, and due when it was scheduled, or at once.
    pub fn stored(event: &Lifecycle, now: DateTime<Utc>) -> Self {
        Self {
            status: EventStatus::Pending,
            attempts_made: 0,
            max_attempts: event.max_attempts,
            last_error: None,
            scheduled_at: Some(event.scheduled_at.unwrap_or(now)),
            completed_at: None,
            lock: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// Whether it is pending and `token` has claimed it.
    pub fn is_claimed_by(&self, token: &ClaimToken) -> bool {
        let has_lock = self.lock.as_ref().is_some_and(|lock| lock.by.as_str() == token.as_str());
        self.status == EventStatus::Pending && has_lock
    }

    /// Claims it.
    pub fn claim(&mut self, token: &ClaimToken, now: DateTime<Utc>) {
        let by = WorkerId::new(token.as_str()).expect("a token is made from a valid name, and short enough");
        self.lock = Some(Lock { by, at: now });
        self.updated_at = now;
    }

    /// Gives a claim back.
    pub fn release(&mut self, now: DateTime<Utc>) {
        self.lock = None;
        self.updated_at = now;
    }

    /// Completes it.
    pub fn complete(&mut self, now: DateTime<Utc>) {
        self.status = EventStatus::Completed;
        self.completed_at = Some(now);
        self.release(now);
    }

    /// Makes it pending again, due at once and with all its attempts.
    pub fn reopen(&mut self, now: DateTime<Utc>) {
        self.status = EventStatus::Pending;
        self.attempts_made = 0;
        self.scheduled_at = Some(now);
        self.completed_at = None;
        self.release(now);
    }

    /// Records a failure: counts the attempt as [`Attempt`](crate::Attempt) says, and sets the next one's time. One that is
    /// made on request gets a time that no clock reaches.
    pub fn fail(&mut self, failure: &Failure, now: DateTime<Utc>) {
        let charged = self.attempts_made.saturating_add_signed(failure.attempt.charge());
        self.attempts_made = charged.min(self.max_attempts);
        match failure.retry {
            Retry::After(delay) => {
                let delay = TimeDelta::from_std(delay).unwrap_or(TimeDelta::MAX);
                self.scheduled_at = Some(now.checked_add_signed(delay).unwrap_or(ON_REQUEST).min(ON_REQUEST));
            }
            Retry::OnRequest => self.scheduled_at = Some(ON_REQUEST),
            Retry::Never => self.status = EventStatus::Failed,
        }
        self.last_error = Some(failure.error().to_owned());
        self.release(now);
    }
}

impl From<LifecycleRecord> for Lifecycle {
    /// A row read back is trusted; where its columns disagree, the status decides.
    fn from(record: LifecycleRecord) -> Self {
        let state = match record.status {
            EventStatus::Pending => State::Pending(record.lock),
            EventStatus::Completed => State::Completed(record.completed_at.unwrap_or(record.updated_at)),
            EventStatus::Failed => State::Failed,
        };
        Self {
            state,
            attempts_made: record.attempts_made.min(record.max_attempts),
            max_attempts: record.max_attempts,
            last_error: record.last_error,
            scheduled_at: record.scheduled_at,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl Lifecycle {
    pub(crate) fn new(max_attempts: u32, scheduled_at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Self {
        Self {
            state: State::Pending(None),
            attempts_made: 0,
            max_attempts,
            last_error: None,
            scheduled_at,
            created_at: now,
            updated_at: now,
        }
    }

    /// Its status.
    pub fn status(&self) -> EventStatus {
        match self.state {
            State::Pending(_) => EventStatus::Pending,
            State::Completed(_) => EventStatus::Completed,
            State::Failed => EventStatus::Failed,
        }
    }

    /// Counted attempts so far.
    pub fn attempts_made(&self) -> u32 {
        self.attempts_made
    }

    /// Attempts after which it is failed.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Counted attempts that are left.
    pub fn attempts_left(&self) -> u32 {
        self.max_attempts - self.attempts_made
    }

    /// The latest failure.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// When it is due. `None` on an event not stored yet means at once, by the database's clock.
    pub fn scheduled_at(&self) -> Option<DateTime<Utc>> {
        self.scheduled_at
    }

    /// When it was completed.
    pub fn completed_at(&self) -> Option<DateTime<Utc>> {
        match self.state {
            State::Completed(at) => Some(at),
            _ => None,
        }
    }

    /// Who works on it.
    pub fn lock(&self) -> Option<&Lock> {
        match &self.state {
            State::Pending(lock) => lock.as_ref(),
            _ => None,
        }
    }

    /// When it was created.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// When it was last changed.
    pub fn updated_at(&self) -> DateTime<Utc> {
        self.updated_at
    }

    pub(crate) fn take_lock(&mut self, by: &WorkerId, ttl: Duration, now: DateTime<Utc>) -> Result<()> {
        match &self.state {
            State::Pending(Some(lock)) if lock.by != *by && !self.is_lock_stale(ttl, now) => {
                Err(Error::invalid(format!("event is locked by {}", lock.by)))
            }
            State::Pending(_) => {
                self.state = State::Pending(Some(Lock { by: by.clone(), at: now }));
                self.updated_at = now;
                Ok(())
            }
            _ => Err(self.not_pending("locked")),
        }
    }

    pub(crate) fn refresh_lock(&mut self, by: &WorkerId, now: DateTime<Utc>) -> Result<()> {
        self.check_holder(by)?;
        self.state = State::Pending(Some(Lock { by: by.clone(), at: now }));
        self.updated_at = now;
        Ok(())
    }

    pub(crate) fn unlock(&mut self, by: &WorkerId, now: DateTime<Utc>) -> Result<()> {
        self.check_holder(by)?;
        self.state = State::Pending(None);
        self.updated_at = now;
        Ok(())
    }

    pub(crate) fn force_unlock(&mut self, reason: &str, now: DateTime<Utc>) -> Result<()> {
        let State::Pending(lock) = &mut self.state else { return Err(self.not_pending("unlocked")) };
        *lock = None;
        self.last_error = Some(cut_error(reason));
        self.updated_at = now;
        Ok(())
    }

    pub(crate) fn complete(&mut self, now: DateTime<Utc>) -> Result<()> {
        let State::Pending(_) = self.state else { return Err(self.not_pending("completed")) };
        self.state = State::Completed(now);
        self.updated_at = now;
        Ok(())
    }

    /// Counts an attempt; the last one fails the event for good.
    pub(crate) fn fail_attempt(&mut self, error: &str, now: DateTime<Utc>) -> Result<()> {
        let State::Pending(_) = self.state else { return Err(self.not_pending("failed")) };
        self.attempts_made = self.attempts_made.saturating_add(1).min(self.max_attempts);
        self.last_error = Some(cut_error(error));
        self.state = if self.attempts_left() == 0 { State::Failed } else { State::Pending(None) };
        self.updated_at = now;
        Ok(())
    }

    pub(crate) fn fail_permanently(&mut self, error: &str, now: DateTime<Utc>) -> Result<()> {
        let State::Pending(_) = self.state else { return Err(self.not_pending("failed")) };
        self.last_error = Some(cut_error(error));
        self.state = State::Failed;
        self.updated_at = now;
        Ok(())
    }

    pub(crate) fn is_lock_stale(&self, ttl: Duration, now: DateTime<Utc>) -> bool {
        self.lock().is_some_and(|lock| (now - lock.at).to_std().is_ok_and(|age| age > ttl))
    }

    fn check_holder(&self, by: &WorkerId) -> Result<()> {
        match self.lock() {
            Some(lock) if lock.by == *by => Ok(()),
            Some(lock) => Err(Error::invalid(format!("event is locked by {}, not by {by}", lock.by))),
            None => Err(Error::invalid(format!("event is not locked by {by}"))),
        }
    }

    fn not_pending(&self, verb: &str) -> Error {
        Error::invalid(format!("event is {}, only a pending event can be {verb}", self.status().as_str()))
    }
}
