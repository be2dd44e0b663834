//! Events without a route.

use std::time::Duration;

use chrono::Utc;
use futures_util::future::{BoxFuture, FutureExt};
use omni_box_core::{Attempt, Error, ErrorKind, Event, HandlerError, HandlerOutcome, InboxContext, Store};

use crate::layer::Call;

const ROLLING_DEPLOY: Duration = Duration::from_secs(3600);

/// What becomes of an event without a route.
///
/// ```
/// use omni_box_core::InboxContext;
/// use omni_box_pipeline::{EventRouter, Unhandled};
/// use omni_box_testkit::MemoryStore;
///
/// async fn ship(_cx: InboxContext<'_, MemoryStore>) {}
///
/// // a topic of which this service needs one type
/// let router = EventRouter::new().on("orders", "order.placed", ship).unhandled(Unhandled::Skip);
/// # let _ = router.with_state(());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unhandled {
    /// It waits, and its key with it: during a rolling deploy the next process may know it.
    Retry {
        /// So long after the inbox first saw it, waiting costs no attempt; then each try costs one, and the last one fails it.
        free_for: Duration,
    },
    /// It is completed, and nothing else happens: this service has no use for it.
    Skip,
    /// It is failed at once, and is a dead letter.
    Fail,
}

impl Default for Unhandled {
    /// It waits, free of attempts for an hour.
    fn default() -> Self {
        Self::Retry { free_for: ROLLING_DEPLOY }
    }
}

/// Answers for an event that has no route.
pub(super) struct Missing {
    pub(super) unhandled: Unhandled,
    /// Says what is missing, and what there is.
    pub(super) reason: String,
}

impl Missing {
    fn answer<S: Store>(&self, cx: &InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
        match self.unhandled {
            Unhandled::Skip => Ok(HandlerOutcome::Skipped),
            Unhandled::Fail => {
                Err(HandlerError::permanent(Error::new(ErrorKind::Unsupported, self.reason.clone())))
            }
            Unhandled::Retry { free_for } => {
                let age = (Utc::now() - cx.event.lifecycle().created_at()).to_std().unwrap_or_default();
                let attempt = if age < free_for { Attempt::Free } else { Attempt::Counted };
                Ok(HandlerOutcome::retry(self.reason.clone(), attempt, None))
            }
        }
    }
}

impl<S: Store> Call<S> for Missing {
    fn call<'a>(
        &'a self,
        cx: InboxContext<'a, S>,
        (): &'a (),
    ) -> BoxFuture<'a, Result<HandlerOutcome, HandlerError>> {
        async move { self.answer(&cx) }.boxed()
    }
}
