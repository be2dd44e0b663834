//! One message's handler, inside a savepoint.

use std::cell::Cell;
use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use omni_box_core::{
    Attempt, Error, Event, FailureClass, HandlerError, HandlerOutcome, InboxContext, InboxEvent,
    InboxHandler, InboxRepository, TransientError,
};
use tokio::time::{Instant, timeout};
use tracing::{Instrument, Span};

use super::engine::Engine;
use super::judgement::{Cost, Verdict};
use super::setback::{Setback, Stage};
use crate::outcome::Outcome;

/// Where a transaction's savepoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// There is none.
    Unset,
    /// Behind everything that was written.
    Fresh,
    /// Before the last handler's writes.
    Passed,
}

/// How a handler ended while its transaction can go on.
pub(super) enum Handled {
    Done(Outcome),
    Undone(Verdict),
}

/// Runs the handler of the group's message at `position`. What it wrote is undone unless it succeeded.
pub(super) async fn handle<S: InboxRepository>(
    engine: &Engine<S>,
    handler: &dyn InboxHandler<S>,
    conn: &mut S::Conn,
    mark: &mut Mark,
    position: usize,
    row: &InboxEvent,
) -> Result<Handled, Setback> {
    set_mark(engine, conn, mark).await?;
    let cx = InboxContext::new(row, &mut *conn, &engine.store, &engine.worker);
    let begun = Instant::now();
    // `handle` itself may panic before there is a future
    let run =
        AssertUnwindSafe(async { handler.handle(cx).await }).catch_unwind().instrument(span(engine, row));
    let ended = timeout(engine.process_timeout, run).await;
    engine.metrics.handler_duration(row.event_type(), begun.elapsed());

    let verdict = match ended {
        Err(_) => return Err(Setback::culprit(position, timed_out(engine.process_timeout))),
        Ok(Err(panic)) => return Err(Setback::culprit(position, panicked(panic.as_ref()))),
        Ok(Ok(Ok(outcome))) => match settled(outcome) {
            Ok(outcome) => {
                *mark = Mark::Passed;
                return Ok(Handled::Done(outcome));
            }
            Err(verdict) => verdict,
        },
        Ok(Ok(Err(error))) => judge_error(engine, error)?,
    };
    undo(engine, conn, mark, position, &verdict).await?;
    Ok(Handled::Undone(verdict))
}

/// What a handler logs says which message it was.
fn span<S: InboxRepository>(engine: &Engine<S>, row: &InboxEvent) -> Span {
    tracing::info_span!(
        "handle", message_id = row.message_id(), event_type = row.event_type(), worker_id = %engine.worker,
        partition = row.position().map(|position| position.partition),
    )
}

/// Puts the savepoint behind what earlier messages wrote. A transaction that one of them broke is found here.
pub(super) async fn set_mark<S: InboxRepository>(
    engine: &Engine<S>,
    conn: &mut S::Conn,
    mark: &mut Mark,
) -> Result<(), Setback> {
    let Some(savepoints) = engine.store.savepoints() else { return Ok(()) };
    match mark {
        Mark::Unset => savepoints.start(conn).await,
        Mark::Passed => savepoints.advance(conn).await,
        Mark::Fresh => Ok(()),
    }
    .map_err(|error| Setback::refused(error, Stage::Effect))?;
    *mark = Mark::Fresh;
    Ok(())
}

async fn undo<S: InboxRepository>(
    engine: &Engine<S>,
    conn: &mut S::Conn,
    mark: &mut Mark,
    position: usize,
    verdict: &Verdict,
) -> Result<(), Setback> {
    let undone = match engine.store.savepoints() {
        Some(savepoints) => savepoints.rollback(conn).await.is_ok(),
        None => false,
    };
    if !undone {
        // the transaction goes as a whole; what is recorded is the handler's failure, not that of the rollback
        return Err(Setback::culprit(position, verdict.clone()));
    }
    *mark = Mark::Fresh;
    Ok(())
}

fn settled(outcome: HandlerOutcome) -> Result<Outcome, Verdict> {
    match outcome {
        HandlerOutcome::Completed => Ok(Outcome::Completed),
        HandlerOutcome::Skipped => Ok(Outcome::Skipped),
        HandlerOutcome::Stale => Ok(Outcome::Stale),
        HandlerOutcome::Retry { reason, attempt, after, .. } => {
            let cost = if attempt == Attempt::Counted { Cost::Counted } else { Cost::Free };
            Err(Verdict { error: reason, cost, after })
        }
    }
}

/// What a handler's error costs; a failure of the database underneath is not the message's and ends the group.
fn judge_error<S: InboxRepository>(engine: &Engine<S>, error: HandlerError) -> Result<Verdict, Setback> {
    let is_native = Cell::new(false);
    let error = error.into_error(|native| {
        let kind = engine.store.classify(native);
        is_native.set(kind.is_some());
        kind
    });
    let cost = match error.class() {
        FailureClass::Infrastructure if is_native.get() || is_stores(&error) => {
            return Err(Setback::refused(error, Stage::Effect));
        }
        FailureClass::Infrastructure => Cost::Free,
        FailureClass::Event => Cost::Counted,
        FailureClass::Permanent => Cost::Permanent,
    };
    Ok(Verdict { error: error.chain(), cost, after: None })
}

/// Whether an error of omni-box caused it: it can only have come from the store that the handler was given.
fn is_stores(error: &Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source())
        .find_map(|cause| match cause {
            cause if cause.is::<TransientError>() => Some(false),
            cause if cause.is::<Error>() => Some(true),
            _ => None,
        })
        .unwrap_or(false)
}

fn timed_out(limit: Duration) -> Verdict {
    Verdict::counted(format!("handler took longer than its {limit:?}"))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Verdict {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of no text");
    Verdict::counted(format!("handler panicked: {text}"))
}
