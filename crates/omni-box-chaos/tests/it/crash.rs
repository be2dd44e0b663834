//! Consumers that are killed right before and right behind a commit, under every strategy and policy.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use omni_box::inbox::{AckStrategy, CommitOffsetPolicy};
use omni_box_harness::eventually;
use omni_box_harness::judge::{InboxExpectation, Judge, Message, read_topics};
use omni_box_harness::topic::committed_offsets;

use omni_box_chaos::shop::Shop;
use omni_box_chaos::world::{SETTLES, SOON, World, clean};

/// More than are handled in one transaction.
const ORDERS: i64 = 100;

/// A transaction of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    /// Stores messages, to handle them in the next.
    Storing,
    /// Handles messages.
    Handling,
}

/// Where the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    BeforeCommit,
    /// Behind the commit, before anything that follows from it.
    AfterCommit,
}

#[derive(Debug, Clone, Copy)]
struct Crash {
    strategy: AckStrategy,
    policy: CommitOffsetPolicy,
    transaction: Transaction,
    moment: Moment,
}

impl Crash {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for strategy in [AckStrategy::AtMostOnce, AckStrategy::AtLeastOnce, AckStrategy::ExactlyOnceInbox] {
            for policy in [CommitOffsetPolicy::OnPersist, CommitOffsetPolicy::OnSuccess] {
                for transaction in [Transaction::Storing, Transaction::Handling] {
                    for moment in [Moment::BeforeCommit, Moment::AfterCommit] {
                        all.push(Self { strategy, policy, transaction, moment });
                    }
                }
            }
        }
        all.retain(|crash| crash.transaction == Transaction::Handling || crash.stores_first());
        all
    }

    fn stores_first(&self) -> bool {
        self.policy == CommitOffsetPolicy::OnPersist && self.strategy != AckStrategy::AtMostOnce
    }

    /// Whether the offsets of what the transaction handles are committed before it.
    fn acknowledges_first(&self) -> bool {
        let is_stored = self.stores_first() && self.transaction == Transaction::Handling;
        is_stored || self.strategy == AckStrategy::AtMostOnce
    }

    fn option(&self) -> String {
        let side = if self.moment == Moment::BeforeCommit { "before" } else { "after" };
        let number = if self.stores_first() && self.transaction == Transaction::Handling { 2 } else { 1 };
        format!("--freeze-{side} {number}")
    }
}

/// A group of its own that reads the shop's orders.
struct Group<'a> {
    shop: &'a Shop,
    crash: Crash,
    name: String,
    shipments: String,
}

impl Group<'_> {
    /// Kills its consumer, asserts what is there then, and lets another one do the rest.
    async fn crash(&self, orders: &[Message]) -> Result<()> {
        let Self { shop: Shop { shipping, .. }, crash, .. } = self;
        let mut consumer =
            shipping.start(&format!("{}-1", self.name), &self.consumer(&crash.option())).await?;
        consumer.frozen().await?;
        if crash.acknowledges_first() {
            eventually(SOON, async || self.committed().await.is_ok_and(|offset| offset.is_some())).await;
        }
        consumer.kill().await?;

        let (stored, effects, committed) =
            (self.stored().await?, self.effects().await?, self.committed().await?);
        match (crash.transaction, crash.moment) {
            (Transaction::Storing, Moment::BeforeCommit) => {
                assert_eq!((stored, effects), (0, 0), "{crash:?}")
            }
            (Transaction::Storing, Moment::AfterCommit) => assert!(stored > 0 && effects == 0, "{crash:?}"),
            (Transaction::Handling, Moment::BeforeCommit) => assert_eq!(effects, 0, "{crash:?}"),
            // of slow handlers, some are left for the next transaction
            (Transaction::Handling, Moment::AfterCommit) => {
                assert!(0 < effects && effects <= stored, "{crash:?}: {effects} of {stored}")
            }
        }
        match crash.acknowledges_first() {
            false => assert_eq!(committed, None, "{crash:?}"),
            true if crash.stores_first() || crash.moment == Moment::AfterCommit => {
                assert_eq!(committed, Some(stored), "{crash:?}");
            }
            true => assert_eq!(stored, 0, "{crash:?}"),
        }

        let ids_below = |end: i64| -> BTreeSet<String> {
            orders.iter().filter(|order| order.offset < end).map(|order| order.id.clone()).collect()
        };
        let is_lost = crash.strategy == AckStrategy::AtMostOnce && crash.moment == Moment::BeforeCommit;
        let may_repeat = crash.strategy == AckStrategy::AtLeastOnce && !crash.acknowledges_first();
        let lost = if is_lost { ids_below(committed.unwrap_or(0)) } else { BTreeSet::new() };

        let mut consumer = shipping.start(&format!("{}-2", self.name), &self.consumer("")).await?;
        let handled = ORDERS - lost.len() as i64;
        // shown where the test fails
        println!("{crash:?}: {effects} of {stored} handled at {committed:?}, then {handled} in all");
        // it goes one message at a time, each with two commits, beside the disk's other users
        eventually(3 * SETTLES, async || {
            let is_handled = self.effects().await.is_ok_and(|effects| effects >= handled);
            is_handled && self.committed().await.is_ok_and(|offset| offset == Some(ORDERS))
        })
        .await;
        consumer.stop().await?;
        let repeated = self.repeated().await?;
        assert!(may_repeat || repeated.is_empty(), "{crash:?}: {} took effect twice", repeated.len());
        // what took effect before its offset was committed is delivered again; at a rebalance others may be
        let again = if may_repeat { effects } else { 0 };
        assert!(repeated.len() as i64 >= again, "{crash:?}: {} of {again} came again", repeated.len());
        let expected = InboxExpectation {
            group: self.name.clone(),
            handler_topic: Some(self.shipments.clone()),
            lost,
            repeated,
            ..self.shop.expectation()
        };
        let judge = Judge::new(&shipping.brokers).inbox(shipping.database(), expected);
        clean(&judge)
            .await
            .with_context(|| format!("{crash:?}, {effects} of {stored} handled at {committed:?}"))?;
        Ok(())
    }

    fn consumer(&self, more: &str) -> String {
        let Self { crash: Crash { strategy, policy, .. }, .. } = self;
        let consumer = self.shop.consumer_of(&self.name, &self.shipments);
        format!("{consumer} --strategy {strategy:?} --policy {policy:?} {more}")
    }

    async fn stored(&self) -> Result<i64> {
        self.count("inbox_events").await
    }

    async fn effects(&self) -> Result<i64> {
        self.count("chaos_effects").await
    }

    /// Messages that took effect more than once.
    async fn repeated(&self) -> Result<BTreeSet<String>> {
        let ids = "select message_id from chaos_effects where consumer_group = $1 group by message_id having count(*) > 1";
        let database = self.shop.shipping.database();
        let ids: Vec<String> = sqlx::query_scalar(ids).bind(&self.name).fetch_all(database).await?;
        Ok(ids.into_iter().collect())
    }

    async fn count(&self, table: &str) -> Result<i64> {
        let count = format!("select count(*) from {table} where consumer_group = '{}'", self.name);
        self.shop.shipping.count(count).await
    }

    /// The offset that the broker has of it, for the only partition.
    async fn committed(&self) -> Result<Option<i64>> {
        let World { brokers, .. } = &self.shop.shipping;
        Ok(committed_offsets(brokers, &self.name, &self.shop.orders).await?.remove(&0))
    }
}

#[tokio::test]
async fn crash_before_and_after_commit() -> Result<()> {
    let Some(mut shop) = Shop::new("crash_before_and_after_commit").await? else { return Ok(()) };
    shop.orders = shop.ordering.topic("orders", 1).await?;
    let _relays = shop.relays().await?;
    shop.write("--tasks 1 --transactions 25 --min-events 4 --max-events 4").await?;
    shop.ordering.settled().await;
    let orders = read_topics(&shop.ordering.brokers, std::slice::from_ref(&shop.orders)).await?;

    let mut groups = Vec::new();
    for (number, crash) in Crash::all().into_iter().enumerate() {
        let shipments = shop.shipping.topic("shipments", 1).await?;
        groups.push(Group { shop: &shop, crash, name: format!("{}-{number}", shop.group), shipments });
    }
    // a few at a time: each has processes of its own
    let crashes = stream::iter(&groups).map(|group| Ok(group.crash(&orders)));
    crashes.try_buffer_unordered(4).try_collect::<()>().await?;
    shop.shipping.settled().await;
    clean(&shop.judge()).await?;
    Ok(())
}
