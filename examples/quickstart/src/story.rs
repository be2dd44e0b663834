//! Tells step by step what happens, and checks each step before it says so.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use omni_box::event::EventStatus;
use omni_box::prelude::*;
use rdkafka::Message;
use rdkafka::consumer::StreamConsumer;
use rdkafka::message::{Headers, OwnedMessage};
use tokio::time::{Instant, sleep, timeout};

use crate::kafka::Kafka;
use crate::screen;
use crate::services::Services;
use crate::shop::{Order, Shop, place};

/// Longest time in which nothing moves.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);
const CUSTOMERS: [&str; 3] = ["ada", "bob", "eve"];

/// One run.
pub(crate) struct Story<'a, S> {
    store: S,
    kafka: &'a Kafka,
    reader: StreamConsumer,
    /// How many orders are placed.
    placed: i64,
}

impl<'a, S: Shop> Story<'a, S> {
    pub(crate) fn new(store: S, kafka: &'a Kafka, orders: u32) -> anyhow::Result<Self> {
        Ok(Self { store, kafka, reader: kafka.reader()?, placed: orders.into() })
    }

    pub(crate) async fn tell(&self, services: &mut Services<S>) -> anyhow::Result<()> {
        // joining a group takes a moment, so it begins first
        services.start_shipping();
        let events = self.transaction().await?;
        self.row(&events[0]).await?;
        services.start_relay();
        let first = self.messages(&events).await?;
        self.effect().await?;
        self.duplicate(&first).await?;
        self.rollback().await
    }

    /// Each order and its event commit together.
    async fn transaction(&self) -> anyhow::Result<Vec<OutboxEvent>> {
        let mut events = Vec::new();
        for number in 1..=self.placed {
            let mut tx = self.store.begin().await?;
            events.push(place(&self.store, &mut tx, self.kafka.topic(), &order(number)).await?);
            self.store.commit(tx).await?;
        }
        let orders = self.orders().await?;
        ensure!(orders == self.numbers(), "other orders are there than were placed: {orders:?}");
        screen::step(
            1,
            "transaction",
            &format!("{} placed, each in one transaction with its event", orders_of(self.placed)),
        );
        screen::detail("begin; insert into orders ..; insert into outbox_events ..; commit");
        Ok(events)
    }

    /// The event is a row until it is published.
    async fn row(&self, event: &OutboxEvent) -> anyhow::Result<()> {
        let row = self.look_up(event).await?.context("the event of order 1 is not in the outbox")?;
        ensure!(
            row.status() == EventStatus::Pending,
            "no relay runs, and the event is {}",
            row.status().as_str()
        );
        ensure!(row.payload().deserialize::<Order>()? == order(1), "the event is not that of order 1");
        screen::step(2, "outbox row", "the event waits in the outbox, no broker was asked");
        screen::detail(&format!(
            "id {}  event_type {}  partition_key {}  status {}  payload {}",
            row.id(),
            row.event_type(),
            row.partition_key().unwrap_or_default(),
            row.status().as_str(),
            row.payload().as_str()
        ));
        Ok(())
    }

    /// The relay publishes each event once, a customer's in their order. Returns that of order 1.
    async fn messages(&self, events: &[OutboxEvent]) -> anyhow::Result<OwnedMessage> {
        let placed: HashMap<String, i64> =
            (1..).zip(events).map(|(n, event)| (event.id().to_string(), n)).collect();
        let mut first = None;
        let mut last = HashMap::new();
        for _ in events {
            let message = self.next_message().await?;
            let id = header(&message, "event_id").context("a message has no header event_id")?;
            let number = *placed.get(&id).with_context(|| format!("a message of no order of ours: {id}"))?;
            let before = last.insert(message.key().map(<[u8]>::to_vec), number).unwrap_or(0);
            ensure!(before < number, "order {number} came behind order {before} of the same customer");
            if number == 1 {
                first = Some(message);
            }
        }
        let first = first.context("the message of order 1 did not come")?;
        self.wait("the published row to be completed", async || {
            let row = self.look_up(&events[0]).await?;
            Ok((row.is_some_and(|row| row.status() == EventStatus::Completed), 0))
        })
        .await?;
        screen::step(
            3,
            "message",
            "the relay published them, a customer's in their order; the row is completed",
        );
        let headers = first.headers().map_or_else(Vec::new, |headers| headers.iter().collect());
        let headers: Vec<String> = headers.iter().map(|h| format!("{}={}", h.key, text(h.value))).collect();
        screen::detail(&format!(
            "partition {} offset {}  key {}",
            first.partition(),
            first.offset(),
            text(first.key())
        ));
        screen::detail(&format!("headers {}", headers.join(" ")));
        screen::detail(&format!("body {}", text(first.payload())));
        Ok(first)
    }

    /// The handler's write commits with the inbox row of its message.
    async fn effect(&self) -> anyhow::Result<()> {
        self.shipped(&self.numbers()).await?;
        screen::step(4, "effect", &format!("the handler shipped {}, each once", orders_of(self.placed)));
        screen::detail(
            "begin; insert into inbox_events ..; insert into shipments ..; commit; then the offset",
        );
        Ok(())
    }

    /// Kafka delivers at least once: here, twice.
    async fn duplicate(&self, message: &OwnedMessage) -> anyhow::Result<()> {
        let offset = self.kafka.send_again(message).await.context("the message cannot be sent again")?;
        let again = self.next_message().await?;
        ensure!(again.offset() == offset, "another message came than the one sent again");
        let (partition, id) = (again.partition(), header(&again, "event_id"));
        ensure!(
            id == header(message, "event_id") && again.payload() == message.payload(),
            "it is another message"
        );
        self.wait("the group to deal with the repeated message", async || {
            let committed = self.kafka.committed(partition).await?;
            Ok((committed.is_some_and(|next| next > offset), committed.unwrap_or(0)))
        })
        .await?;
        let shipments = self.shipments().await?;
        ensure!(
            shipments == self.numbers(),
            "a message sent twice took effect twice, shipped: {shipments:?}"
        );
        screen::step(5, "duplicate", "the same message sent again by another producer: no second effect");
        screen::detail(&format!(
            "partition {partition} offset {offset}: received, recognised by event_id, committed; still {} shipped",
            orders_of(self.placed)
        ));
        Ok(())
    }

    /// What is rolled back has never been. An order of the same customer behind it shows that nothing is still on its way.
    async fn rollback(&self) -> anyhow::Result<()> {
        let (undone, kept) =
            (order(self.placed + 1), Order { number: self.placed + 2, ..order(self.placed + 1) });
        let mut tx = self.store.begin().await?;
        let lost = place(&self.store, &mut tx, self.kafka.topic(), &undone).await?;
        self.store.rollback(tx).await?;
        let mut tx = self.store.begin().await?;
        let event = place(&self.store, &mut tx, self.kafka.topic(), &kept).await?;
        self.store.commit(tx).await?;

        let id = header(&self.next_message().await?, "event_id");
        ensure!(
            id != Some(lost.id().to_string()),
            "the event of an order that was rolled back was published"
        );
        ensure!(id == Some(event.id().to_string()), "another message came than that of the next order");
        ensure!(self.look_up(&lost).await?.is_none(), "the event of an order that was rolled back is there");
        let numbers = [self.numbers(), vec![kept.number]].concat();
        self.shipped(&numbers).await?;
        ensure!(self.orders().await? == numbers, "the order that was rolled back is there");
        screen::step(
            6,
            "rollback",
            &format!("order {} was rolled back: no order, no event, no message, no shipment", undone.number),
        );
        screen::detail(&format!(
            "order {} of the same customer was placed behind it, and shipped",
            kept.number
        ));
        Ok(())
    }

    /// Waits until so many are shipped as there are `numbers`; then they must be just these.
    async fn shipped(&self, numbers: &[i64]) -> anyhow::Result<()> {
        self.wait("the orders to be shipped", async || {
            let count = self.shipments().await?.len();
            Ok((count >= numbers.len(), i64::try_from(count)?))
        })
        .await?;
        let shipments = self.shipments().await?;
        ensure!(shipments == numbers, "other orders were shipped than were placed: {shipments:?}");
        Ok(())
    }

    async fn next_message(&self) -> anyhow::Result<OwnedMessage> {
        let message = timeout(PATIENCE, self.reader.recv()).await;
        let message =
            message.with_context(|| format!("waited {PATIENCE:?} in vain for a message on the topic"))?;
        Ok(message.context("the topic cannot be read")?.detach())
    }

    async fn look_up(&self, event: &OutboxEvent) -> anyhow::Result<Option<OutboxEvent>> {
        let mut tx = self.store.begin().await?;
        // a store holds events of both kinds
        let row = self.store.outbox().get_by_id(&mut tx, event.id()).await?;
        self.store.rollback(tx).await?;
        Ok(row)
    }

    async fn orders(&self) -> anyhow::Result<Vec<i64>> {
        let mut tx = self.store.begin().await?;
        let orders = S::orders(&mut tx).await?;
        self.store.rollback(tx).await?;
        Ok(orders)
    }

    async fn shipments(&self) -> anyhow::Result<Vec<i64>> {
        let mut tx = self.store.begin().await?;
        let shipments = S::shipments(&mut tx).await?;
        self.store.rollback(tx).await?;
        Ok(shipments)
    }

    /// Those of the orders that are placed first.
    fn numbers(&self) -> Vec<i64> {
        (1..=self.placed).collect()
    }

    /// Waits for as long as what `look` counts keeps moving.
    async fn wait(
        &self,
        what: &str,
        look: impl AsyncFn() -> anyhow::Result<(bool, i64)>,
    ) -> anyhow::Result<()> {
        let mut seen = 0;
        let mut deadline = Instant::now() + PATIENCE;
        loop {
            let (is_done, progress) = look().await?;
            if is_done {
                return Ok(());
            }
            if progress != seen {
                (seen, deadline) = (progress, Instant::now() + PATIENCE);
            }
            ensure!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
            sleep(PAUSE).await;
        }
    }
}

fn order(number: i64) -> Order {
    let customer = CUSTOMERS[usize::try_from(number - 1).unwrap_or(0) % CUSTOMERS.len()];
    Order { number, customer: customer.to_owned() }
}

fn orders_of(count: i64) -> String {
    if count == 1 { "1 order".to_owned() } else { format!("{count} orders") }
}

fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    message.headers()?.iter().find(|header| header.key == name).map(|header| text(header.value))
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
