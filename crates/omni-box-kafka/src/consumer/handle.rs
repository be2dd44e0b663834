//! The application's side of a partition.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use omni_box_core::{AckHandle, InboundMessage, Result};
use tokio::sync::mpsc::Receiver;

use super::committer::Committer;
use super::partition::{Partition, closed};

/// Acknowledges a partition's messages; dropping it lets the partition go.
pub(super) struct Handle {
    partition: Arc<Partition>,
    committer: Arc<Committer>,
}

impl Handle {
    pub(super) fn new(partition: Arc<Partition>, committer: Arc<Committer>) -> Self {
        Self { partition, committer }
    }
}

#[async_trait]
impl AckHandle for Handle {
    async fn commit(&self, offsets: &[i64]) -> Result<()> {
        let Some(answer) = self.partition.done(offsets)? else { return Ok(()) };
        self.committer.ask([Arc::clone(&self.partition)]);
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn rewind(&self) -> Result<Receiver<InboundMessage>> {
        self.partition.ask_rewind()?.await.unwrap_or_else(|_| Err(closed()))
    }

    fn is_revoked(&self) -> bool {
        !self.partition.is_owned()
    }

    async fn lost(&self) {
        self.partition.lost().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.partition.let_go();
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.partition.id)
    }
}
