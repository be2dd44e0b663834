//! The publisher as relay and `publish_batch` share it.

use std::fmt;
use std::sync::Arc;

use omni_box_core::EventPublisher;

/// The publisher behind its pointer, which has no `Debug` of its own.
#[derive(Clone)]
pub(super) struct Publisher(pub(super) Arc<dyn EventPublisher>);

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({:?})", self.0.send_order())
    }
}
