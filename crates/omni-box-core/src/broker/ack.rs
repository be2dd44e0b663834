//! How messages are acknowledged.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::error::{Error, ErrorKind, Result};
use crate::message::InboundMessage;

/// Acknowledges messages of one assigned partition.
#[async_trait]
pub trait AckHandle: Send + Sync + fmt::Debug {
    /// Marks messages as done and commits the position up to which all delivered messages are done, in the order of delivery.
    ///
    /// - A message behind one that is not done is remembered, and never committed past it.
    /// - Returns when the broker has the position, or at once if it did not move.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) when the partition is not this consumer's any more; otherwise as the broker says. The marks stay, so the
    /// next call commits them too.
    async fn commit(&self, offsets: &[i64]) -> Result<()>;

    /// Delivers again from the first message that is not done, on a new stream; the old one ends.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) when the partition is not this consumer's any more.
    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>>;

    /// Whether the partition was lost or revoked: another consumer soon receives what is not finished.
    fn is_revoked(&self) -> bool;

    /// Resolves when the partition is lost to another owner already (not merely being revoked): work in progress must stop.
    async fn lost(&self);
}

/// Acknowledges nothing, for messages that did not come from a broker.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullAckHandle;

#[async_trait]
impl AckHandle for NullAckHandle {
    async fn commit(&self, _offsets: &[i64]) -> Result<()> {
        Ok(())
    }

    async fn rewind(&self) -> Result<mpsc::Receiver<InboundMessage>> {
        Err(Error::new(ErrorKind::Unsupported, "messages that come from no broker cannot be delivered again"))
    }

    fn is_revoked(&self) -> bool {
        false
    }

    async fn lost(&self) {
        std::future::pending().await
    }
}
