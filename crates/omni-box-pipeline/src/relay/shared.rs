//! The publisher as relay and `publish_batch` share it.

use std::fmt;
use std::sync::Arc;

use omni_box_core::{EventPublisher, OutboxEvent};

use super::settings::Settings;
use super::stepped::Stepped;
use crate::step::{ProcessingStep, Steps};

/// The publisher behind its pointer, which has no `Debug` of its own.
#[derive(Clone)]
pub(super) struct Publisher(pub(super) Arc<dyn EventPublisher>);

impl Publisher {
    /// With steps in front of it, if there are any.
    pub(super) fn stepped(
        self,
        steps: Vec<Arc<dyn ProcessingStep<OutboxEvent>>>,
        settings: &Settings,
    ) -> Self {
        if steps.is_empty() {
            return self;
        }
        Self(Arc::new(Stepped::new(self.0, Steps::new(steps), settings)))
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Publisher({:?})", self.0.send_order())
    }
}
