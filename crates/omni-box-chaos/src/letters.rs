//! Where dead letters go.

use std::error::Error as StdError;

use anyhow::Result;
use async_trait::async_trait;
use clap::Args;
use omni_box::pipeline::DlqStorage;
use omni_box::{Event as _, InboxEvent};
use sqlx::PgPool;

use crate::stand::{Place, Stand};

#[derive(Args)]
pub(crate) struct LetterArgs {
    /// A topic for what is given up.
    #[arg(long)]
    pub(crate) letter_topic: Option<String>,
    /// Copy what is given up into the table `chaos_letters`, in transactions of its own.
    #[arg(long)]
    pub(crate) copy_letters: bool,
}

/// Keeps letters in a table, each once, and counts how often each came.
pub(crate) struct Copies {
    pub(crate) pool: PgPool,
    pub(crate) stand: Stand,
}

#[async_trait]
impl DlqStorage<InboxEvent> for Copies {
    async fn move_to_dlq(
        &self,
        event: &InboxEvent,
        error: &str,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        self.stand.pass(Place::Storage, false).await;
        sqlx::query(
            "insert into chaos_letters (event_id, consumer_group, error) values ($1, $2, $3)
             on conflict (event_id) do update set times = chaos_letters.times + 1",
        )
        .bind(event.id().as_uuid())
        .bind(event.consumer_group().as_str())
        .bind(error)
        .execute(&self.pool)
        .await?;
        self.stand.pass(Place::Storage, true).await;
        Ok(())
    }
}
