//! The judge as a program.

use anyhow::{Result, bail, ensure};
use clap::Args;
use omni_box_harness::judge::{InboxExpectation, Judge};

use crate::servers::Servers;

#[derive(Args)]
pub(crate) struct JudgeArgs {
    /// A consumer group whose inbox is in this database, as well.
    #[arg(long, requires = "topic")]
    group: Option<String>,
    /// Topics the group consumes.
    #[arg(long)]
    topic: Vec<String>,
    /// The topic that only the group's handlers write to.
    #[arg(long)]
    handler_topic: Option<String>,
    /// Ids of messages that should be parked.
    #[arg(long)]
    parked: Vec<String>,
    /// `topic:partition:offset` of messages that should be in quarantine.
    #[arg(long)]
    quarantined: Vec<String>,
}

pub(crate) async fn run(servers: &Servers, args: JudgeArgs) -> Result<()> {
    let mut judge = Judge::new(servers.pool(2)?, &servers.brokers);
    if let Some(group) = args.group {
        judge = judge.inbox(InboxExpectation {
            group,
            topics: args.topic,
            handler_topic: args.handler_topic,
            parked: args.parked.into_iter().collect(),
            quarantined: args.quarantined.into_iter().collect(),
        });
    }
    let verdict = judge.verdict().await?;
    println!("{}", serde_json::to_string_pretty(&verdict)?);
    if !verdict.is_clean() {
        bail!("a promise was broken:\n{verdict}");
    }
    ensure!(verdict.committed + verdict.effects > 0, "there was nothing to judge");
    Ok(())
}
