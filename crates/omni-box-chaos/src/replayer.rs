//! An operator's program, which replays what a group has given up.

use anyhow::{Context, Result};
use clap::Args;
use omni_box::event::FetchFilters;
use omni_box::{BatchSize, ConsumerGroup, Event as _, EventId, InboxExt as _};

use crate::servers::Servers;

#[derive(Args)]
pub(crate) struct ReplayerArgs {
    /// The consumer group.
    #[arg(long)]
    group: String,
    /// How many dead letters a page has.
    #[arg(long, default_value_t = 500)]
    page: u32,
}

/// Half of each page keeps its identity, the other half is stored anew.
pub(crate) async fn run(servers: &Servers, args: ReplayerArgs) -> Result<()> {
    let store = servers.store(2)?;
    let letters = store.inbox().dead_letters().context("the store has no dead letters")?;
    let (ours, page) =
        (FetchFilters::new().consumer_group(ConsumerGroup::new(&args.group)?), BatchSize::new(args.page)?);
    println!("ready");
    let mut last = None;
    loop {
        let mut failed = letters.list(&ours, last.as_ref(), page).await?;
        let ids: Vec<EventId> = failed.iter().map(|event| event.id()).collect();
        last = failed.pop();
        if last.is_none() {
            break;
        }
        let (as_they_are, anew) = ids.split_at(ids.len() / 2);
        letters.requeue(as_they_are).await?;
        letters.replay_as_new(anew).await?;
    }
    println!("done");
    Ok(())
}
