//! Faults by chance, drawn from seeds that are always the same. `cargo xtask chaos` draws others, and more.

use anyhow::Result;
use omni_box_chaos::storm::{self, Options};
use omni_box_harness::servers;

#[tokio::test]
async fn lanes_keep_their_promises_under_faults_by_chance() -> Result<()> {
    survives("lanes", 1).await
}

#[tokio::test]
async fn rows_keep_their_promises_under_faults_by_chance() -> Result<()> {
    survives("rows", 2).await
}

async fn survives(mode: &str, seed: u64) -> Result<()> {
    // a storm starts servers of its own; where the tests have none, they are not to be had
    if servers().is_none() {
        return Ok(());
    }
    let mode = mode.to_owned();
    let options = Options { seed, faults: 25, at_most: None, plan: None, mode, shrinks: false };
    let report = storm::run(&options).await?;
    assert_eq!(report.faults.values().sum::<usize>(), 25);
    assert!(report.rounds[0].verdict.effects > 500, "too little happened: {}", report.rounds[0].verdict);
    Ok(())
}
