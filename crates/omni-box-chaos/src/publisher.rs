//! A loop of one's own around `publish_batch`.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use omni_box::event::FetchFilters;
use omni_box::{BatchSize, OutboxPublisher};

use crate::servers::{Servers, shutdown};

#[derive(Args)]
pub(crate) struct PublisherArgs {
    /// How long its leases live.
    #[arg(long, default_value_t = 3_000)]
    lease_ttl_ms: u64,
    /// Events a batch.
    #[arg(long, default_value_t = 100)]
    batch_size: u32,
}

pub(crate) async fn run(servers: &Servers, args: PublisherArgs) -> Result<()> {
    let shutdown = shutdown()?;
    let publisher = OutboxPublisher::builder(servers.store(5)?, servers.publisher()?)
        .lease_ttl(Duration::from_millis(args.lease_ttl_ms))
        .build()?;
    let worker = servers.worker_id()?;
    let batch = BatchSize::new(args.batch_size)?;
    println!("ready");
    while !shutdown.is_cancelled() {
        let pause = match publisher.publish_batch(&worker, batch, &FetchFilters::new(), &shutdown).await {
            Ok(result) if !result.is_empty() => continue,
            Ok(_) => Duration::from_millis(50),
            Err(error) if error.is_retryable() => {
                tracing::warn!(error = error.chain(), "batch failed");
                Duration::from_millis(500)
            }
            Err(error) => return Err(error.into()),
        };
        let _ = tokio::time::timeout(pause, shutdown.cancelled()).await;
    }
    publisher.close().await?;
    println!("done");
    Ok(())
}
