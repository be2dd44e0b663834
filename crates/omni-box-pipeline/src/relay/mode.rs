//! The delivery mode that a table is in.

use omni_box_core::{DeliveryMode, Error, ErrorKind, FailureClass, OutboxRepository, Result};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use super::status::RelayStatus;
use crate::deadline::within;
use crate::gate::Gate;

/// Asks for the delivery mode, waiting out an outage. `None`: cancelled meanwhile.
pub(super) async fn delivery_mode<S: OutboxRepository>(
    store: &S,
    settings: &Settings,
    gate: &mut Gate,
    status: &RelayStatus,
    shutdown: &CancellationToken,
) -> Result<Option<DeliveryMode>> {
    status.update(|status| status.gates = vec![gate.status()]);
    loop {
        match within(settings.lease_ttl, store.delivery_mode()).await {
            Ok(mode) => {
                gate.open();
                status.update(|status| {
                    status.gates = vec![gate.status()];
                    status.mode = Some(mode);
                });
                return Ok(Some(mode));
            }
            Err(error) if error.class() == FailureClass::Permanent => return Err(error),
            Err(error) => {
                let delay = gate.close(&error);
                status.update(|status| status.gates = vec![gate.status()]);
                tokio::select! {
                    () = sleep(delay) => {}
                    () = shutdown.cancelled() => return Ok(None),
                }
            }
        }
    }
}

/// A mode that no engine serves.
pub(super) fn unavailable(mode: DeliveryMode) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("delivery mode {mode} is not available in this version; use lanes or rows"),
    )
}
