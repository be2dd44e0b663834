//! One message's handler, inside a savepoint or a sealed transaction.

use std::cell::Cell;
use std::error::Error as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use omni_box_core::{
    Attempt, Error, ErrorKind, Event, FailureClass, HandlerError, HandlerOutcome, InboxBatch, InboxContext,
    InboxEvent, InboxHandler, InboxRepository, TransientError,
};
use tokio::time::error::Elapsed;
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
    /// Before what the handler of the message at this place wrote.
    Passed(usize),
    /// Before what this crate wrote.
    Behind,
    /// None is wanted: the transaction is sealed.
    Sealed,
}

/// How far the handlers of a transaction have come.
#[derive(Debug)]
pub(crate) struct Course {
    mark: Mark,
    /// How many have succeeded.
    kept: usize,
    /// The last one returned later than its time, with success.
    is_late: bool,
}

impl Course {
    pub(crate) fn new() -> Self {
        Self { mark: Mark::Unset, kept: 0, is_late: false }
    }

    /// That of a sealed transaction.
    pub(crate) fn sealed() -> Self {
        Self { mark: Mark::Sealed, ..Self::new() }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.mark == Mark::Sealed
    }

    /// Something was written outside of handlers, which the next must not undo.
    pub(crate) fn write(&mut self) {
        if self.mark == Mark::Fresh {
            self.mark = Mark::Behind;
        }
    }

    fn pass(&mut self, position: usize) {
        if !self.is_sealed() {
            self.mark = Mark::Passed(position);
        }
        self.kept += 1;
    }
}

/// How a handler ended while its transaction can go on.
pub(crate) enum Handled {
    Done(Outcome),
    Undone(Charge),
    /// It did not run: a step has stopped the group.
    Later,
}

/// How a handler that returned did not succeed.
enum Failed {
    /// The message's own failure.
    Charged(Charge),
    /// The database's.
    Refused(Error),
}

/// Runs the handler of the group's message at `position`. What it wrote is undone unless it succeeded.
pub(crate) async fn handle<S: InboxRepository>(
    context: &Context<S>,
    handler: &dyn InboxHandler<S>,
    conn: &mut S::Conn,
    course: &mut Course,
    position: usize,
    row: &InboxEvent,
) -> Result<Handled, Cause> {
    set_mark(context, conn, course).await?;
    let is_in_company = course.kept > 0 && !context.acks_first();
    let cx = InboxContext::new(row, &mut *conn, context.database.lend(), &context.worker);
    let begun = Instant::now();
    let running = context.running.begin(row);
    // `handle` itself may panic before there is a future
    let run =
        AssertUnwindSafe(async { handler.handle(cx).await }).catch_unwind().instrument(span(context, row));
    let ended = timeout(context.process_timeout, run).await;
    drop(running);
    let elapsed = begun.elapsed();
    context.observer().handled(row, matches!(ended, Ok(Ok(Ok(_)))), elapsed);
    // one that blocks its thread is not ended by its time; the server may have ended its transaction
    let is_late = elapsed > context.process_timeout;
    if course.is_sealed() {
        return sealed(course, position, ended, is_late);
    }

    let failed = match ended {
        Err(_) => {
            let is_silent = !context.acks_first() && !context.database.answers(conn).await;
            let charge = Charge { is_silent, ..timed_out(context.process_timeout) };
            return Err(Cause::culprit(position, charge));
        }
        Ok(Err(panic)) => {
            let charge = panicked(panic.as_ref()).in_company(is_in_company);
            return Err(Cause::culprit(position, charge));
        }
        Ok(Ok(Ok(outcome))) => match settled(outcome) {
            Ok(outcome) => {
                course.pass(position);
                course.is_late = is_late;
                return Ok(Handled::Done(outcome));
            }
            Err(charge) => Failed::Charged(charge),
        },
        Ok(Ok(Err(_))) if is_late => {
            return Err(Cause::culprit(position, timed_out(context.process_timeout)));
        }
        Ok(Ok(Err(error))) => judge_error(context, error, is_in_company),
    };
    undo(context, conn, course, position, failed).await.map(Handled::Undone)
}

/// Runs the handler of several messages of a sealed transaction, from the one at `position` on. Says what became of each, or the group runs
/// again.
pub(crate) async fn handle_batch<S: InboxRepository>(
    context: &Context<S>,
    handler: &dyn InboxHandler<S>,
    conn: &mut S::Conn,
    course: &mut Course,
    rows: &[(usize, &InboxEvent)],
) -> Result<Vec<Outcome>, Cause> {
    let Some(&(_, first)) = rows.first() else { return Ok(Vec::new()) };
    let events: Vec<&InboxEvent> = rows.iter().map(|(_, row)| *row).collect();
    let mut outcomes = vec![HandlerOutcome::Completed; rows.len()];
    let batch = InboxBatch::new(&events, &mut outcomes, conn, context.database.lend(), &context.worker);
    let begun = Instant::now();
    let running = context.running.begin(first);
    let run = AssertUnwindSafe(async move { handler.handle_batch(batch).await }).catch_unwind();
    let ended = timeout(context.process_timeout, run.instrument(span(context, first))).await;
    drop(running);
    context.observer().handled(first, matches!(ended, Ok(Ok(Ok(())))), begun.elapsed());
    let is_broken_off = !matches!(ended, Ok(Ok(_)));
    match ended {
        Ok(Ok(Ok(()))) if begun.elapsed() <= context.process_timeout => {}
        _ => return Err(Cause::Unmarked { is_broken_off }),
    }
    let outcomes = outcomes.into_iter().zip(rows).map(|(outcome, &(position, _))| {
        course.pass(position);
        settled(outcome).map_err(|_| Cause::Unmarked { is_broken_off: false })
    });
    outcomes.collect()
}

/// How a handler ended in a sealed transaction: with success, or the group runs again.
fn sealed(
    course: &mut Course,
    position: usize,
    ended: Result<std::thread::Result<Result<HandlerOutcome, HandlerError>>, Elapsed>,
    is_late: bool,
) -> Result<Handled, Cause> {
    match ended {
        Ok(Ok(Ok(outcome))) if !is_late => match settled(outcome) {
            Ok(outcome) => {
                course.pass(position);
                Ok(Handled::Done(outcome))
            }
            Err(_) => Err(Cause::Unmarked { is_broken_off: false }),
        },
        Ok(Ok(_)) => Err(Cause::Unmarked { is_broken_off: false }),
        Ok(Err(_)) | Err(_) => Err(Cause::Unmarked { is_broken_off: true }),
    }
}

/// What a handler logs says which message it was.
fn span<S: InboxRepository>(context: &Context<S>, row: &InboxEvent) -> Span {
    tracing::info_span!(
        "handle", message_id = row.message_id(), event_type = row.event_type(), worker_id = %context.worker,
        partition = row.position().map(|position| position.partition),
    )
}

/// Puts the savepoint behind what earlier messages wrote, before the first handler if there is none yet.
async fn set_mark<S: InboxRepository>(
    context: &Context<S>,
    conn: &mut S::Conn,
    course: &mut Course,
) -> Result<(), Cause> {
    if course.mark == Mark::Unset {
        let started = context.database.start_savepoint(conn).await;
        started.map_err(|error| Cause::refused(error, Stage::Effect))?;
        course.mark = Mark::Fresh;
    }
    check_mark(context, conn, course).await
}

/// Makes sure that the last handler left the transaction open and able to go on. Nothing may be written behind it otherwise, neither the next
/// handler's effect nor an outcome.
pub(crate) async fn check_mark<S: InboxRepository>(
    context: &Context<S>,
    conn: &mut S::Conn,
    course: &mut Course,
) -> Result<(), Cause> {
    let handler = match course.mark {
        Mark::Passed(position) => Some(position),
        Mark::Behind => None,
        Mark::Unset | Mark::Fresh | Mark::Sealed => return Ok(()),
    };
    match (context.database.advance_savepoint(conn).await, handler) {
        (Ok(()), _) => course.mark = Mark::Fresh,
        (Err(error), Some(position)) if error.kind() == ErrorKind::NoTransaction => {
            let is_in_company = course.kept > 1 && !context.acks_first();
            return Err(Cause::culprit(position, Charge::ended(None).in_company(is_in_company)));
        }
        (Err(_), Some(position)) if course.is_late => {
            return Err(Cause::culprit(position, timed_out(context.process_timeout)));
        }
        (Err(error), _) => return Err(Cause::refused(error, Stage::Effect)),
    }
    Ok(())
}

/// Undoes what a handler wrote that did not succeed, and returns its charge. A failure of the database ends the group.
async fn undo<S: InboxRepository>(
    context: &Context<S>,
    conn: &mut S::Conn,
    course: &mut Course,
    position: usize,
    failed: Failed,
) -> Result<Charge, Cause> {
    let undone = context.database.rollback_to_savepoint(conn).await;
    match (undone, failed) {
        (Ok(true), Failed::Charged(charge)) => {
            course.mark = Mark::Fresh;
            Ok(charge)
        }
        (Err(error), failed) if error.kind() == ErrorKind::NoTransaction => {
            let (failure, is_in_company) = match failed {
                Failed::Charged(charge) => (charge.error, charge.is_in_company),
                Failed::Refused(error) => (error.chain(), false),
            };
            Err(Cause::culprit(position, Charge::ended(Some(&failure)).in_company(is_in_company)))
        }
        (_, Failed::Refused(error)) => Err(Cause::refused(error, Stage::Effect)),
        // the transaction goes as a whole; what is recorded is the handler's failure, not that of the rollback
        (_, Failed::Charged(charge)) => Err(Cause::culprit(position, charge)),
    }
}

fn settled(outcome: HandlerOutcome) -> Result<Outcome, Charge> {
    match outcome {
        HandlerOutcome::Completed => Ok(Outcome::Completed),
        HandlerOutcome::Skipped => Ok(Outcome::Skipped),
        HandlerOutcome::Stale => Ok(Outcome::Stale),
        HandlerOutcome::Retry { reason, attempt, after, .. } => {
            let cost = if attempt == Attempt::Counted { Cost::Counted } else { Cost::Free };
            Err(Charge { cost, after, ..Charge::counted(reason) })
        }
    }
}

/// What a handler's error costs; a failure of the database underneath is not the message's.
fn judge_error<S: InboxRepository>(context: &Context<S>, error: HandlerError, is_in_company: bool) -> Failed {
    let is_native = Cell::new(false);
    let error = error.into_error(|native| {
        let kind = context.database.classify(native);
        is_native.set(kind.is_some());
        kind
    });
    let cost = match error.class() {
        FailureClass::Infrastructure if is_native.get() || is_stores(&error) => {
            return Failed::Refused(error);
        }
        FailureClass::Infrastructure => Cost::Free,
        FailureClass::Event => Cost::Counted,
        FailureClass::Permanent => Cost::Permanent,
    };
    // the message says so itself, with or without others in its transaction
    let is_certain = cost == Cost::Free || matches!(error.kind(), ErrorKind::Rejected | ErrorKind::Decode);
    let charge = Charge { cost, ..Charge::counted(error.chain()) };
    Failed::Charged(charge.in_company(is_in_company && !is_certain))
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
