//! Workers that are killed at each point from a handler's failure to where the dead letter goes.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use omni_box_harness::topic::{Isolation, read_topic};

use omni_box_chaos::world::{SETTLES, SOON, World};

/// Fewer than are handled in one transaction.
const MESSAGES: i64 = 30;

/// Messages of a group whose handler always fails, each with one attempt and a key of its own.
const FAILING: &str = r#"
insert into inbox_events (message_id, consumer_group, event_type, source, payload, max_attempts, partition_key)
select $1 || '-' || i, $1, 'order.placed', 'orders', '{"act": "fail"}', 1, 'k' || i
from generate_series(1, 30) i"#;

const OUTDATED: &str = "
update inbox_events set locked_at = locked_at - interval '2 min' where consumer_group = $1 and locked_at is not null";

const LETTERS: &str = "
create table chaos_letters (
    event_id uuid primary key, consumer_group text not null, error text not null, times int not null default 1
)";

/// Where dead letters go besides their own rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sink {
    /// Nowhere.
    None,
    /// To a topic, by an outbox event of the transaction that gives up.
    Topic,
    /// To a storage outside, once that is committed.
    Storage,
}

/// Where a worker is killed, and whether what it was about to give up is given up by then.
type Point = (Sink, &'static str, bool);

const POINTS: [Point; 17] = [
    (Sink::None, "handler", false),
    (Sink::None, "Settle", false),
    (Sink::None, "Settle --behind", false),
    (Sink::None, "Commit", false),
    (Sink::None, "Commit --behind", true),
    (Sink::Topic, "handler", false),
    (Sink::Topic, "Settle", false),
    (Sink::Topic, "Settle --behind", false),
    (Sink::Topic, "CreateMany", false),
    (Sink::Topic, "CreateMany --behind", false),
    (Sink::Topic, "Commit", false),
    (Sink::Topic, "Commit --behind", true),
    (Sink::Storage, "Commit --behind", true),
    (Sink::Storage, "storage", true),
    (Sink::Storage, "storage --behind", true),
    (Sink::Storage, "MarkCopied", true),
    (Sink::Storage, "MarkCopied --behind", true),
];

/// A group of its own in a database that all share.
struct Case<'a> {
    world: &'a World,
    topic: &'a str,
    group: String,
    point: Point,
}

impl Case<'_> {
    async fn killed(&self) -> Result<()> {
        let (sink, at, is_given_up) = self.point;
        self.world.execute_with(FAILING, &self.group).await?;
        let mut worker =
            self.world.start(&format!("{}-1", self.group), &self.worker(&format!("--stand-at {at}"))).await?;
        worker.frozen().await?;
        worker.kill().await?;
        // a transaction is rolled back when the server has seen the end of its connection
        let gone = format!(
            "select not exists (select from pg_stat_activity where datname = current_database() and application_name = '{}-1')",
            self.group
        );
        self.world.until(SOON, gone).await;
        let failed = self.failed().await?;
        // what is begun a second after the first of a group is left for the next
        ensure!(if is_given_up { failed > 0 } else { failed == 0 }, "{failed} are given up by then");
        match sink {
            Sink::None => {}
            Sink::Topic => {
                ensure!(self.letters().await? == failed, "letters and marks are of one transaction")
            }
            Sink::Storage => ensure!(self.letters().await? <= failed, "a letter is copied behind its mark"),
        }

        // the time of its claims is over
        self.world.execute_with(OUTDATED, &self.group).await?;
        let mut worker = self.world.start(&format!("{}-2", self.group), &self.worker("")).await?;
        self.world
            .until(SETTLES, format!("({}) = {MESSAGES}", self.count("inbox_events", "status = 'failed'")))
            .await;
        let copied =
            self.count("inbox_events", "status = 'failed' and copied_at is distinct from updated_at");
        if sink == Sink::Storage {
            self.world.until(SETTLES, format!("({copied}) = 0")).await;
        }
        worker.stop().await?;
        let odd = "select coalesce(string_agg(distinct attempts_made || ' x ' || coalesce(last_error, ''), '; '), '')
            from inbox_events where consumer_group = $1 and (attempts_made <> 1 or last_error not like '%asked to fail%')";
        let odd: String = sqlx::query_scalar(odd).bind(&self.group).fetch_one(self.world.database()).await?;
        ensure!(odd.is_empty(), "each is charged with its own failure, once: {odd}");
        if sink != Sink::None {
            ensure!(self.letters().await? == MESSAGES, "{} letters", self.letters().await?);
        }
        Ok(())
    }

    fn worker(&self, more: &str) -> String {
        let letters = match self.point.0 {
            Sink::None => String::new(),
            Sink::Topic => format!("--letter-topic {}", self.topic),
            Sink::Storage => "--copy-letters".to_owned(),
        };
        // what stands still must not be over before it is killed
        let slow = "--handler-timeout-ms 20000 --lease-ttl-ms 60000";
        format!("worker --group {} {slow} {letters} {more}", self.group)
    }

    fn count(&self, table: &str, which: &str) -> String {
        format!("select count(*) from {table} where consumer_group = '{}' and {which}", self.group)
    }

    async fn failed(&self) -> Result<i64> {
        self.world.count(self.count("inbox_events", "status = 'failed'")).await
    }

    /// How many letters there are, each of another message.
    async fn letters(&self) -> Result<i64> {
        let count = match self.point.0 {
            Sink::None => return Ok(0),
            Sink::Topic => {
                let of_group = format!("headers ->> 'dead_letter_group' = '{}'", self.group);
                let twice = format!(
                    "select count(*) - count(distinct causation_id) from outbox_events where {of_group}"
                );
                ensure!(self.world.count(twice).await? == 0, "a letter is there twice");
                format!("select count(*) from outbox_events where {of_group}")
            }
            Sink::Storage => self.count("chaos_letters", "error like '%asked to fail%'"),
        };
        self.world.count(count).await
    }
}

#[tokio::test]
async fn killed_between_handler_and_sink_no_letter_is_lost_or_there_twice() -> Result<()> {
    let Some(world) = World::new("killed_between_handler_and_sink").await? else { return Ok(()) };
    world.execute(LETTERS).await?;
    let topic = world.topic("dead-letters", 1).await?;
    let mut relay = world.start("relay", "relay --lease-ttl-ms 2000").await?;
    let mut cases = Vec::new();
    for (number, point) in POINTS.into_iter().enumerate() {
        cases.push(Case { world: &world, topic: &topic, group: format!("group-{number}"), point });
    }
    // a few at a time: each is two processes, one behind the other
    for some in cases.chunks(6) {
        try_join_all(some.iter().map(async |case| case.killed().await.context(format!("{:?}", case.point))))
            .await?;
    }
    world.settled().await;
    relay.stop().await?;

    let records = read_topic(&world.brokers, &topic, Isolation::ReadCommitted).await?;
    let bound_for_it = POINTS.iter().filter(|(sink, ..)| *sink == Sink::Topic).count();
    assert_eq!(records.len(), bound_for_it * MESSAGES as usize, "each letter is on the topic once");
    let header = |headers: &[(String, Option<Vec<u8>>)]| {
        headers.iter().find(|(name, _)| name == "dead_letter_message_id").and_then(|(_, value)| value.clone())
    };
    let ids: BTreeSet<_> = records.iter().filter_map(|record| header(&record.headers)).collect();
    assert_eq!(ids.len(), records.len(), "of another message each");
    // the one point at which letters come twice: kept outside, and not noted in their rows
    let again = "select count(*) from chaos_letters where times > 1 and consumer_group not in ('group-14', 'group-15')";
    assert_eq!(world.count(again).await?, 0, "a storage is called again only where the note is missing");
    Ok(())
}
