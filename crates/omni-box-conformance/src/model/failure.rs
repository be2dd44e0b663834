//! Failures, as sequences record them.

use std::fmt;

use omni_box_core::{Attempt, EventStatus, Failure, Lifecycle, Retry};
use proptest::prelude::{Just, Strategy, prop_oneof};

use super::call::{Checked, mismatch};
use super::clock::{Minute, end, span};

/// What `last_error` says after one.
const ERROR: &str = "no stock";

/// A failure to be recorded.
#[derive(Clone, Copy)]
pub(super) struct Fault {
    pub(super) attempt: Attempt,
    pub(super) again: Again,
}

/// When it is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// After so many minutes and a half.
    After(u8),
    OnRequest,
    Never,
}

impl Fault {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let attempt = prop_oneof![Just(Attempt::Counted), Just(Attempt::Free), Just(Attempt::Refunded)];
        let again = prop_oneof![
            3 => (0_u8..3).prop_map(Again::After),
            1 => Just(Again::OnRequest),
            1 => Just(Again::Never),
        ];
        (attempt, again).prop_map(|(attempt, again)| Self { attempt, again })
    }

    pub(super) fn failure(self) -> Failure {
        let retry = match self.again {
            Again::After(minutes) => Retry::After(span(minutes)),
            Again::OnRequest => Retry::OnRequest,
            Again::Never => Retry::Never,
        };
        Failure::new(ERROR, self.attempt, retry)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, again {:?}", self.attempt, self.again)
    }
}

/// The attempts after a failure.
pub(super) fn charged(attempts: u32, max: u32, attempt: Attempt) -> u32 {
    match attempt {
        Attempt::Counted => (attempts + 1).min(max),
        Attempt::Free => attempts,
        Attempt::Refunded => attempts.saturating_sub(1),
    }
}

/// When a failure that is recorded now is tried again; `None`: not by itself.
pub(super) fn due(retry: Retry, now: Minute) -> Option<Minute> {
    match retry {
        // half minutes beyond so many whole ones
        Retry::After(delay) => Some(end(now, (delay.as_secs() / 60) as u8)),
        Retry::OnRequest | Retry::Never => None,
    }
}

/// Compares where an event is in its life with what the model says of it.
pub(super) fn check_life(
    name: &str,
    life: &Lifecycle,
    status: EventStatus,
    attempts: u32,
    is_tried: bool,
) -> Checked {
    let (has, should) = ((life.status(), life.attempts_made()), (status, attempts));
    if has != should {
        return mismatch(format!("{name} is {has:?} (status, attempts), and should be {should:?}"));
    }
    let error = is_tried.then_some(ERROR);
    if life.last_error() != error {
        let has = life.last_error();
        return mismatch(format!("{name} has last_error {has:?}, and should have {error:?}"));
    }
    Ok(())
}
