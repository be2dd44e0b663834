//! Two services with a database each: one takes orders, the other ships them.

use anyhow::Result;
use omni_box_harness::judge::{InboxExpectation, Judge, Verdict};
use omni_box_harness::servers;

use crate::world::{Addresses, Program, SESSION, SETTLES, SOON, World, clean};

/// The two services, their topics, and the group that consumes.
pub struct Shop {
    /// Its writers order, its relays publish that.
    pub ordering: World,
    /// Its consumers handle orders, its relays publish what they add.
    pub shipping: World,
    /// The topic of orders.
    pub orders: String,
    /// The topic that the consumers' handlers write to.
    pub shipments: String,
    /// Of this test alone: members of one group wait for each other, whatever their topics.
    pub group: String,
}

impl Shop {
    /// On the shared servers; `None` where there are none.
    pub async fn new(test: &str) -> Result<Option<Self>> {
        let Some(servers) = servers() else { return Ok(None) };
        Ok(Some(Self::on(test, &servers.database_url, &servers.kafka_brokers).await?))
    }

    /// On servers of a test's own.
    ///
    /// # Errors
    /// When the servers refuse.
    pub async fn on(test: &str, database_url: &str, brokers: &str) -> Result<Self> {
        let both = Addresses { database_url: database_url.to_owned(), brokers: brokers.to_owned() };
        Self::behind(test, &both, &both).await
    }

    /// The same where programs reach the servers by other addresses than the judge, such as a proxy's.
    ///
    /// # Errors
    /// When the servers refuse.
    pub async fn behind(test: &str, direct: &Addresses, programs: &Addresses) -> Result<Self> {
        let ordering = World::behind(&format!("{test}/ordering"), direct, programs).await?;
        let shipping = World::behind(&format!("{test}/shipping"), direct, programs).await?;
        let (orders, shipments) = (ordering.topic("orders", 4).await?, shipping.topic("shipments", 2).await?);
        let group = format!("shipping-{orders}");
        Ok(Self { ordering, shipping, orders, shipments, group })
    }

    /// Starts a relay of each service.
    pub async fn relays(&self) -> Result<[Program; 2]> {
        let relay = "relay --lease-ttl-ms 2000";
        Ok([self.ordering.start("r0", relay).await?, self.shipping.start("r0", relay).await?])
    }

    /// Starts a writer that goes on until it is stopped.
    pub async fn writer(&self, more: &str) -> Result<Program> {
        self.ordering.start("writer", &format!("writer --topic {} {more}", self.orders)).await
    }

    /// Runs a writer to its end.
    pub async fn write(&self, more: &str) -> Result<()> {
        self.ordering.run("writer", &format!("writer --topic {} {more}", self.orders)).await
    }

    /// Starts a consumer of orders.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn consumer(&self, name: &str, more: &str) -> Result<Program> {
        let consumer = self.consumer_of(&self.group, &self.shipments);
        self.shipping.start(name, &format!("{consumer} {more}")).await
    }

    /// Starts a worker that handles what consumers have stored.
    pub async fn worker(&self, name: &str, more: &str) -> Result<Program> {
        let worker = format!("worker --group {} --emit {} {more}", self.group, self.shipments);
        self.shipping.start(name, &worker).await
    }

    /// The command of a consumer of orders.
    pub fn consumer_of(&self, group: &str, shipments: &str) -> String {
        format!("consumer --topic {} --group {group} --emit {shipments} {SESSION}", self.orders)
    }

    /// Waits until `more` effects are there than are now: the consumers work.
    pub async fn progress(&self, more: i64) -> Result<()> {
        let now = self.shipping.count("select count(*) from chaos_effects").await?;
        self.shipping.until(SOON, format!("select count(*) >= {} from chaos_effects", now + more)).await;
        Ok(())
    }

    /// Waits until everything that was ordered is handled and what handlers added is published.
    pub async fn settled(&self) -> Result<()> {
        self.ordering.settled().await;
        self.handled(&self.group).await?;
        self.shipping.settled().await;
        Ok(())
    }

    /// Waits until a group has handled everything that was ordered so far.
    pub async fn handled(&self, group: &str) -> Result<()> {
        let orders = self.ordering.count("select count(*) from chaos_journal").await?;
        let handled = format!(
            "select count(*) >= {orders} from inbox_events where consumer_group = '{group}' and status <> 'pending'"
        );
        self.shipping.until(SETTLES, handled).await;
        Ok(())
    }

    /// A judge of both outboxes.
    pub fn judge(&self) -> Judge {
        self.ordering.judge().outbox(self.shipping.database())
    }

    /// What the group should have done.
    pub fn expectation(&self) -> InboxExpectation {
        InboxExpectation {
            group: self.group.clone(),
            topics: vec![self.orders.clone()],
            handler_topic: Some(self.shipments.clone()),
            ..InboxExpectation::default()
        }
    }

    /// Has both databases and the topics judged, and fails unless every promise was kept.
    pub async fn judged(&self) -> Result<Verdict> {
        self.judged_with(self.expectation()).await
    }

    /// The same where something else is expected.
    pub async fn judged_with(&self, expected: InboxExpectation) -> Result<Verdict> {
        clean(&self.judge().inbox(self.shipping.database(), expected)).await
    }
}
