//! What a delivery report means for its event.

use std::time::Duration;

use omni_box_core::{
    Attempt, Error, ErrorKind, Event, Failure, FailureClass, Lifecycle, OutboxEvent, Result, Retry,
    RetryPolicy, TraceContext, trace_of,
};

use crate::outcome::Outcome;
use crate::step::Mark;

/// The longest base and the longest delay for an event whose topic is unavailable.
const TOPIC_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What happens to a key when the broker rejects one of its events for good.
///
/// ```
/// use omni_box_core::RawEventConverter;
/// use omni_box_pipeline::{OutboxRelay, RejectionPolicy};
/// use omni_box_testkit::{MemoryBroker, MemoryStore};
///
/// // an account's bookings are in order, or they are not sent
/// let relay = OutboxRelay::builder(MemoryStore::new(), MemoryBroker::new().publisher(RawEventConverter))
///     .rejection_policy(RejectionPolicy::HoldKey)
///     .build();
/// assert!(relay.is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RejectionPolicy {
    /// The event is failed, its key moves on.
    #[default]
    SkipEvent,
    /// The key stops behind the event until an operator acts; its events go one at a time.
    HoldKey,
}

/// What is done with an event after its report.
#[derive(Debug)]
pub(super) enum ReportVerdict {
    /// The broker has it, or a step has completed it.
    Done(Outcome),
    /// Record the failure: retry later, wait for an operator, or give up.
    Failed(Failure),
    /// Record that a step has put the event off.
    PutOff(Failure),
    /// Nothing is wrong with the event: the broker cannot be used. Publish it again from the first.
    Unavailable(Error),
}

/// Judges reports.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    pub(super) retry: RetryPolicy,
    pub(super) rejection: RejectionPolicy,
}

impl Judge {
    pub(super) fn judge(&self, event: &OutboxEvent, result: Result<()>) -> ReportVerdict {
        let Err(error) = result else { return ReportVerdict::Done(Outcome::Published) };
        if Mark::of(&error) == Some(Mark::Completed) {
            return ReportVerdict::Done(Outcome::Skipped);
        }
        let failure = match error.class() {
            FailureClass::Infrastructure if error.kind() != ErrorKind::TopicUnavailable => {
                return ReportVerdict::Unavailable(error);
            }
            FailureClass::Infrastructure if Mark::of(&error) == Some(Mark::PutOff) => {
                let retry = Retry::After(self.topic_retry().delay(topic_failures(event)));
                return ReportVerdict::PutOff(Failure::new(&error.chain(), Attempt::Free, retry));
            }
            // the topic's fault: no attempt is spent, its keys wait
            FailureClass::Infrastructure => Failure::new(
                &error.chain(),
                Attempt::Free,
                Retry::After(self.topic_retry().delay(topic_failures(event))),
            ),
            FailureClass::Event => {
                Failure::new(&error.chain(), Attempt::Counted, self.next_attempt(event.lifecycle()))
            }
            FailureClass::Permanent => {
                let retry = match self.rejection {
                    RejectionPolicy::SkipEvent => Retry::Never,
                    RejectionPolicy::HoldKey => Retry::OnRequest,
                };
                Failure::new(&error.chain(), Attempt::Counted, retry)
            }
        };
        if failure.attempt == Attempt::Counted {
            log(event, &error, &failure);
        }
        ReportVerdict::Failed(failure)
    }

    /// What follows an error of the broker that has turned out to be one event's own.
    pub(super) fn own(&self, event: &OutboxEvent, error: &Error) -> Failure {
        let text = format!("the broker takes other events: {}", error.chain());
        let failure = Failure::new(&text, Attempt::Counted, self.next_attempt(event.lifecycle()));
        log(event, error, &failure);
        failure
    }

    /// An unavailable topic is asked again sooner than an event that failed by its own fault: it costs no attempt.
    fn topic_retry(&self) -> RetryPolicy {
        self.retry.at_most(TOPIC_RETRY.0, TOPIC_RETRY.1)
    }

    fn next_attempt(&self, lifecycle: &Lifecycle) -> Retry {
        if lifecycle.attempts_left() <= 1 {
            return Retry::Never;
        }
        Retry::After(self.retry.delay(lifecycle.attempts_made() + 1))
    }
}

fn log(event: &OutboxEvent, error: &Error, failure: &Failure) {
    let trace = trace_of(event.headers());
    tracing::warn!(
        event_id = %event.id(),
        trace_id = trace.as_ref().map(TraceContext::trace_id),
        event_type = event.event_type(),
        topic = event.topic(),
        kind = ?error.kind(),
        retry = ?failure.retry,
        error = failure.error(),
        "event was not published"
    );
}

/// Whether a publisher's answer to `check` ends the relay: waiting cannot help.
pub(super) fn ends_relay(error: &Error) -> bool {
    error.kind() == ErrorKind::Fatal || error.class() == FailureClass::Permanent
}

/// How often the topic may have failed this event already: it is not counted, but the time it waited so far tells.
fn topic_failures(event: &OutboxEvent) -> u32 {
    let lifecycle = event.lifecycle();
    let waited = (lifecycle.updated_at() - lifecycle.created_at()).num_seconds();
    u32::try_from(waited.max(1)).map_or(u32::MAX, |seconds| seconds.ilog2() + 1)
}
