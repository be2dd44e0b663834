//! What an application writes: the handler of a message, inside the message's transaction.

mod batch;
mod context;
mod error;
mod function;
mod outcome;

use std::sync::Arc;

use async_trait::async_trait;

pub use batch::{BatchFn, InboxBatch};
pub use context::InboxContext;
pub use error::{HandlerError, PermanentError, TransientError};
pub use function::{EventFn, FromRef, State};
pub use outcome::{HandlerOutcome, IntoHandlerResult};

use crate::error::Result;
use crate::event::InboxEvent;
use crate::store::Store;

/// Handles messages of an inbox.
///
/// - Runs inside the message's transaction; when it fails, panics or exceeds its time, everything it wrote is rolled back.
/// - May run more than once for a message (after a failed commit, a crash, a retry); its database effect happens once.
/// - Is given every message that its runner receives, of any type: a function is bound to a type by a router.
///
/// ```
/// use async_trait::async_trait;
/// use omni_box_core::{Event, HandlerError, HandlerOutcome, InboxContext, InboxHandler, Store};
///
/// /// Counts messages, of whatever type they are.
/// struct Audit;
///
/// #[async_trait]
/// impl<S: Store> InboxHandler<S> for Audit {
///     async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
///         if cx.event.event_type().starts_with("test.") {
///             return Ok(HandlerOutcome::Skipped);
///         }
///         // writes by cx.conn() commit with the message's row
///         Ok(HandlerOutcome::Completed)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an inbox handler for `{S}`",
    label = "not an inbox handler",
    note = "bind a function to its event type: `on(\"order.placed\", ship)`, or `EventRouter::new().on(\"orders\", \"order.placed\", ship)`",
    note = "a router with a state is a handler after `.with_state(..)`"
)]
#[async_trait]
pub trait InboxHandler<S: Store>: Send + Sync + 'static {
    /// Handles one message.
    ///
    /// # Errors
    /// See [`HandlerError`] for what each costs.
    ///
    /// # Cancel safety
    /// The engine drops the future when the handler's time is over, and with it the transaction.
    async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError>;

    /// Whether it takes a message together with others, in one call. Messages of a group that stand one behind the other and have the same
    /// number are a batch. `None`, the default, is a call of [`handle`](Self::handle).
    ///
    /// A group goes in batches while messages succeed. After a failure, and where each message has a savepoint, each one is given to
    /// [`handle`](Self::handle).
    fn batch_of(&self, event: &InboxEvent) -> Option<usize> {
        let _ = event;
        None
    }

    /// Handles a batch; see [`InboxBatch`]. By default, one message after the other.
    ///
    /// # Errors
    /// The whole batch is undone, and its messages come again one at a time.
    ///
    /// # Cancel safety
    /// As [`handle`](Self::handle).
    async fn handle_batch(&self, mut batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
        for place in 0..batch.events.len() {
            if let Some(cx) = batch.one(place) {
                let outcome = self.handle(cx).await?;
                batch.set(place, outcome);
            }
        }
        Ok(())
    }

    /// Checks what can be checked before the first message; a runner's `build` calls it.
    ///
    /// # Errors
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured), naming everything that is wrong.
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

macro_rules! handler_behind_pointer {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<S: Store, H: InboxHandler<S> + ?Sized> InboxHandler<S> for $pointer<H> {
            async fn handle(&self, cx: InboxContext<'_, S>) -> Result<HandlerOutcome, HandlerError> {
                H::handle(self, cx).await
            }

            fn batch_of(&self, event: &InboxEvent) -> Option<usize> {
                H::batch_of(self, event)
            }

            async fn handle_batch(&self, batch: InboxBatch<'_, S>) -> Result<(), HandlerError> {
                H::handle_batch(self, batch).await
            }

            fn validate(&self) -> Result<()> {
                H::validate(self)
            }
        }
    )*};
}

handler_behind_pointer!(Arc, Box);
