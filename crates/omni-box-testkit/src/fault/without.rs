//! Capabilities that a wrapped store does not offer.

use super::operation::Capability;
use super::plan::FaultPlan;

impl FaultPlan {
    /// Lets a wrapped store offer a capability no more: how does a program do with a store that has less?
    ///
    /// ```
    /// use omni_box_core::InboxRepository;
    /// use omni_box_testkit::{Capability, FaultPlan, Faulty, MemoryStore};
    ///
    /// let plan = FaultPlan::new();
    /// let store = Faulty::new(MemoryStore::new(), &plan);
    /// assert!(store.savepoints().is_some());
    /// plan.hide(Capability::Savepoints);
    /// assert!(store.savepoints().is_none());
    /// ```
    pub fn hide(&self, capability: Capability) {
        self.update(|state| state.hidden.insert(capability));
    }

    pub(super) fn shows(&self, capability: Capability) -> bool {
        !self.state().hidden.contains(&capability)
    }
}
