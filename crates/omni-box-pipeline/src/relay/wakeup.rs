//! Waiting for a writer.

use std::future::pending;

use omni_box_core::Wakeup;

/// Resolves when a writer wakes the relay; never on a store that cannot wake.
pub(super) async fn wait(wakeup: &mut Option<Box<dyn Wakeup>>) {
    match wakeup {
        Some(wakeup) => wakeup.wait().await,
        None => pending().await,
    }
}
