//! Storages outside that get copies of events that were given up.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::Event;
use tokio::sync::Notify;

/// Where copies of events go that were given up.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::Mutex;
///
/// use async_trait::async_trait;
/// use omni_box_core::{Event, EventId};
/// use omni_box_pipeline::{DlqStep, DlqStorage};
///
/// /// Keeps why each event was given up.
/// #[derive(Default)]
/// struct Reasons(Mutex<BTreeMap<EventId, String>>);
///
/// #[async_trait]
/// impl<E: Event> DlqStorage<E> for Reasons {
///     async fn move_to_dlq(
///         &self,
///         event: &E,
///         error: &str,
///     ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         let mut reasons = self.0.lock().map_err(|_| "a thread panicked")?;
///         reasons.entry(event.id()).or_insert_with(|| error.to_owned());
///         Ok(())
///     }
/// }
///
/// let step = DlqStep::new(Reasons::default());
/// # let _ = step;
/// ```
#[async_trait]
pub trait DlqStorage<E: Event>: Send + Sync + 'static {
    /// Keeps an event with the reason, by its id. Called after the failure is committed in the event's own row, and for at most 30 s.
    ///
    /// - Called again for the same failure after an error, and after a process has ended before it noted the copy. Several replicas may copy
    ///   one at once. So what is there by the event's id is kept as it is.
    ///
    /// # Errors
    /// Any. The event is copied later.
    async fn move_to_dlq(
        &self,
        event: &E,
        error: &str,
    ) -> std::result::Result<(), Box<dyn StdError + Send + Sync>>;
}

/// A storage of a step, which its worker feeds, and what says that there may be something for it.
pub struct Feed<E> {
    pub(crate) storage: Arc<dyn DlqStorage<E>>,
    pub(crate) wake: Arc<Notify>,
}

impl<E> fmt::Debug for Feed<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Feed")
    }
}
