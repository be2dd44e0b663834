//! The steps that factories take, in their order.

use std::fmt;
use std::sync::Arc;

use omni_box_core::Event;

use super::DlqStep;
use crate::step::{DlqStorage, ProcessingStep};

/// Those in front, the breaker, the copies of dead letters, those behind: in this order, however they are set.
pub(crate) struct Ordered<E> {
    before: Vec<Arc<dyn ProcessingStep<E>>>,
    breaker: Option<Arc<dyn ProcessingStep<E>>>,
    dlq: Option<Arc<dyn ProcessingStep<E>>>,
    after: Vec<Arc<dyn ProcessingStep<E>>>,
}

impl<E> Default for Ordered<E> {
    fn default() -> Self {
        Self { before: Vec::new(), breaker: None, dlq: None, after: Vec::new() }
    }
}

impl<E: Event> Ordered<E> {
    pub(crate) fn before(&mut self, step: impl ProcessingStep<E>) {
        self.before.push(Arc::new(step));
    }

    pub(crate) fn after(&mut self, step: impl ProcessingStep<E>) {
        self.after.push(Arc::new(step));
    }

    pub(crate) fn breaker(&mut self, breaker: impl ProcessingStep<E>) {
        self.breaker = Some(Arc::new(breaker));
    }

    pub(crate) fn dlq(&mut self, storage: impl DlqStorage<E>) {
        self.dlq = Some(Arc::new(DlqStep::new(storage)));
    }

    pub(crate) fn into_steps(self) -> Vec<Arc<dyn ProcessingStep<E>>> {
        self.before.into_iter().chain(self.breaker).chain(self.dlq).chain(self.after).collect()
    }
}

impl<E: Event> fmt::Debug for Ordered<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.before.iter().chain(&self.breaker).chain(&self.dlq).chain(&self.after);
        f.debug_list().entries(steps.map(|step| step.name())).finish()
    }
}
