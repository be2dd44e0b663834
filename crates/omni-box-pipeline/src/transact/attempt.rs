//! One transaction for a group: opened, worked in, and ended in one way or another.

use omni_box_core::InboxRepository;

use super::cause::{Cause, Stage};
use super::context::Context;
use super::group::Group;
use super::judgement::Fate;
use super::message::Item;
use super::task::{Attempted, Marks, Task};

/// Takes a group through one transaction; says what becomes of each message, or why nothing was changed.
///
/// `stop` ends it at once, whatever it is doing.
pub(crate) async fn attempt<S: InboxRepository>(
    context: &Context<S>,
    items: &[&Item],
    task: Task<'_>,
    marks: Marks,
    stop: impl Future<Output = ()>,
) -> Result<Attempted, Cause> {
    let mut stop = std::pin::pin!(stop);
    let database = &context.database;
    let mut tx = tokio::select! {
        tx = begin(context, task, marks) => tx.map_err(Cause::Unreachable)?,
        () = &mut stop => return Err(Cause::Stopped),
    };
    let ended = tokio::select! {
        ended = Group::new(context, items, task, marks).run(&mut tx) => ended,
        () = &mut stop => Err(Cause::Stopped),
    };
    match ended {
        Ok(attempted) => {
            tokio::select! {
                committed = database.commit(tx) => committed.map_err(|error| marks.refused(error, Stage::Commit))?,
                () = &mut stop => return Err(Cause::Stopped),
            }
            database.open();
            database.count_kept(
                attempted.fates.iter().filter(|fate| matches!(fate, Fate::Done(_) | Fate::Stored)).count(),
            );
            Ok(attempted)
        }
        Err(
            cause @ (Cause::Stopped
            | Cause::Culprit { .. }
            | Cause::Unanswered(_)
            | Cause::Unmarked { is_broken_off: true }),
        ) => {
            database.abandon(tx).await;
            Err(cause)
        }
        Err(cause) => {
            // rolled back either way; the failure that led here is the one to tell
            let _ = database.rollback(tx).await;
            Err(cause)
        }
    }
}

async fn begin<S: InboxRepository>(
    context: &Context<S>,
    task: Task<'_>,
    marks: Marks,
) -> omni_box_core::Result<S::Tx> {
    match task {
        Task::Handle if marks == Marks::Sealed => {
            context.database.begin_sealed(context.process_timeout).await
        }
        Task::Handle => context.database.begin_handling(context.process_timeout).await,
        Task::Persist | Task::Start | Task::Record(_) => context.database.begin_brief().await,
    }
}
