//! What an application writes: the handler of a message, inside the message's transaction.

mod context;
mod error;
mod function;
mod outcome;

use std::sync::Arc;

use async_trait::async_trait;

pub use context::InboxContext;
pub use error::{HandlerError, PermanentError, TransientError};
pub use function::{EventFn, FromRef, State};
pub use outcome::{HandlerOutcome, IntoHandlerResult};

use crate::error::Result;
use crate::store::Store;

/// Handles messages of an inbox.
///
/// - Runs inside the message's transaction; when it fails, panics or exceeds its time, everything it wrote is rolled back.
/// - May run more than once for a message (after a failed commit, a crash, a retry); its database effect happens once.
/// - Is given every message that its runner receives, of any type: a function is bound to a type by a router.
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

            fn validate(&self) -> Result<()> {
                H::validate(self)
            }
        }
    )*};
}

handler_behind_pointer!(Arc, Box);
