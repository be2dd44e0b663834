//! A database made ready.

use anyhow::Result;
use clap::Args;
use omni_box::store::DeliveryMode;
use omni_box_harness::judge::journal;

use crate::servers::Servers;

#[derive(Args)]
pub(crate) struct ModeArgs {
    /// lanes or rows
    mode: DeliveryMode,
}

/// Changes how the outbox is delivered.
pub(crate) async fn set_mode(servers: &Servers, args: ModeArgs) -> Result<()> {
    servers.store(2)?.set_delivery_mode(args.mode).await?;
    println!("done");
    Ok(())
}

pub(crate) async fn run(servers: &Servers) -> Result<()> {
    let pool = servers.pool(2)?;
    servers.store(2)?.migrate().await?;
    journal::install(&mut *pool.acquire().await?).await?;
    println!("done");
    Ok(())
}
