//! A database made ready.

use anyhow::Result;
use omni_box_harness::judge::journal;

use crate::servers::Servers;

pub(crate) async fn run(servers: &Servers) -> Result<()> {
    let pool = servers.pool(2)?;
    servers.store(2)?.migrate().await?;
    journal::install(&mut *pool.acquire().await?).await?;
    println!("done");
    Ok(())
}
