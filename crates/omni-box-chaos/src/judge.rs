//! The judge as a program.

use anyhow::{Result, bail, ensure};
use clap::Args;
use omni_box_harness::judge::{InboxExpectation, Judge};

use crate::servers::Servers;

#[derive(Args)]
pub(crate) struct JudgeArgs {
    /// A consumer group whose inbox is judged, as well.
    #[arg(long, requires = "topic")]
    group: Option<String>,
    /// The database of that inbox and of the outbox its handlers write to, when it is another one.
    #[arg(long, requires = "group")]
    inbox_database_url: Option<String>,
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
    let database = servers.pool(2)?;
    let mut judge = Judge::new(&servers.brokers).outbox(&database);
    if let Some(group) = args.group {
        let mut inbox_database = database;
        if let Some(url) = &args.inbox_database_url {
            inbox_database = servers.pool_of(url, 2)?;
            judge = judge.outbox(&inbox_database);
        }
        let expected = InboxExpectation {
            group,
            topics: args.topic,
            handler_topic: args.handler_topic,
            parked: args.parked.into_iter().collect(),
            quarantined: args.quarantined.into_iter().collect(),
            ..InboxExpectation::default()
        };
        judge = judge.inbox(&inbox_database, expected);
    }
    let verdict = judge.verdict().await?;
    println!("{}", serde_json::to_string_pretty(&verdict)?);
    if !verdict.is_clean() {
        bail!("a promise was broken:\n{verdict}");
    }
    ensure!(verdict.committed + verdict.effects > 0, "there was nothing to judge");
    Ok(())
}
