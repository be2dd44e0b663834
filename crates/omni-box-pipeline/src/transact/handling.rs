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

use super::cause::{Cause, Stage};
use super::context::Context;
use super::judgement::{Charge, Cost};
use crate::outcome::Outcome;

/// Where a transaction's savepoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// There is none.
    Unset,
    /// Behind everything that was written.
    Fresh,
    /// Before the last handler's writes.
    Passed,
}

/// How a handler ended while its transaction can go on.
pub(crate) enum Handled {
    Done(Outcome),
    Undone(Charge),
}

/// Runs the handler of the group's message at `position`. What it wrote is undone unless it succeeded.
pub(crate) async fn handle<S: InboxRepository>(
    context: &Context<S>,
    handler: &dyn InboxHandler<S>,
    conn: &mut S::Conn,
    mark: &mut Mark,
    position: usize,
    row: &InboxEvent,
) -> Result<Handled, Cause> {
    set_mark(context, conn, mark).await?;
    let cx = InboxContext::new(row, &mut *conn, &context.store, &context.worker);
    let begun = Instant::now();
    // `handle` itself may panic before there is a future
    let run =
        AssertUnwindSafe(async { handler.handle(cx).await }).catch_unwind().instrument(span(context, row));
    let ended = timeout(context.process_timeout, run).await;
    context.metrics.handler_duration(row.event_type(), begun.elapsed());

    let charge = match ended {
        Err(_) => return Err(Cause::culprit(position, timed_out(context.process_timeout))),
        Ok(Err(panic)) => return Err(Cause::culprit(position, panicked(panic.as_ref()))),
        Ok(Ok(Ok(outcome))) => match settled(outcome) {
            Ok(outcome) => {
                *mark = Mark::Passed;
                return Ok(Handled::Done(outcome));
            }
            Err(charge) => charge,
        },
        Ok(Ok(Err(error))) => judge_error(context, error)?,
    };
    undo(context, conn, mark, position, &charge).await?;
    Ok(Handled::Undone(charge))
}

/// What a handler logs says which message it was.
fn span<S: InboxRepository>(context: &Context<S>, row: &InboxEvent) -> Span {
    tracing::info_span!(
        "handle", message_id = row.message_id(), event_type = row.event_type(), worker_id = %context.worker,
        partition = row.position().map(|position| position.partition),
    )
}

/// Puts the savepoint behind what earlier messages wrote. A transaction that one of them broke is found here.
pub(crate) async fn set_mark<S: InboxRepository>(
    context: &Context<S>,
    conn: &mut S::Conn,
    mark: &mut Mark,
) -> Result<(), Cause> {
    let Some(savepoints) = context.store.savepoints() else { return Ok(()) };
    match mark {
        Mark::Unset => savepoints.start(conn).await,
        Mark::Passed => savepoints.advance(conn).await,
        Mark::Fresh => Ok(()),
    }
    .map_err(|error| Cause::refused(error, Stage::Effect))?;
    *mark = Mark::Fresh;
    Ok(())
}

async fn undo<S: InboxRepository>(
    context: &Context<S>,
    conn: &mut S::Conn,
    mark: &mut Mark,
    position: usize,
    charge: &Charge,
) -> Result<(), Cause> {
    let undone = match context.store.savepoints() {
        Some(savepoints) => savepoints.rollback(conn).await.is_ok(),
        None => false,
    };
    if !undone {
        // the transaction goes as a whole; what is recorded is the handler's failure, not that of the rollback
        return Err(Cause::culprit(position, charge.clone()));
    }
    *mark = Mark::Fresh;
    Ok(())
}

fn settled(outcome: HandlerOutcome) -> Result<Outcome, Charge> {
    match outcome {
        HandlerOutcome::Completed => Ok(Outcome::Completed),
        HandlerOutcome::Skipped => Ok(Outcome::Skipped),
        HandlerOutcome::Stale => Ok(Outcome::Stale),
        HandlerOutcome::Retry { reason, attempt, after, .. } => {
            let cost = if attempt == Attempt::Counted { Cost::Counted } else { Cost::Free };
            Err(Charge { error: reason, cost, after })
        }
    }
}

/// What a handler's error costs; a failure of the database underneath is not the message's and ends the group.
fn judge_error<S: InboxRepository>(context: &Context<S>, error: HandlerError) -> Result<Charge, Cause> {
    let is_native = Cell::new(false);
    let error = error.into_error(|native| {
        let kind = context.store.classify(native);
        is_native.set(kind.is_some());
        kind
    });
    let cost = match error.class() {
        FailureClass::Infrastructure if is_native.get() || is_stores(&error) => {
            return Err(Cause::refused(error, Stage::Effect));
        }
        FailureClass::Infrastructure => Cost::Free,
        FailureClass::Event => Cost::Counted,
        FailureClass::Permanent => Cost::Permanent,
    };
    Ok(Charge { error: error.chain(), cost, after: None })
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

fn timed_out(limit: Duration) -> Charge {
    Charge::counted(format!("handler took longer than its {limit:?}"))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Charge {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of no text");
    Charge::counted(format!("handler panicked: {text}"))
}
