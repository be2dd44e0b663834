//! What the three programs share: the events they exchange, and how a process starts and stops.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// `order.placed`, of the order service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderPlaced {
    /// The order.
    pub order_id: Uuid,
    /// Who placed it; orders of one customer keep their order.
    pub customer: String,
    /// Counts the customer's orders, from 1.
    pub number: i64,
    /// What was ordered.
    pub item: String,
}

/// `order.shipped`, of the shipping service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderShipped {
    /// The order.
    pub order_id: Uuid,
    /// The shipment.
    pub shipment_id: Uuid,
}

/// Logs to stderr as `RUST_LOG` says (`info` if it says nothing).
pub fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
}

/// A token that is cancelled by SIGTERM or Ctrl-C.
///
/// # Errors
/// When the signal handler cannot be installed.
pub fn shutdown_on_signal() -> std::io::Result<CancellationToken> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        shutdown.cancel();
    });
    Ok(token)
}
