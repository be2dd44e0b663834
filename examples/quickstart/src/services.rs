//! What an application runs: a relay from the outbox to Kafka, and a consumer from Kafka into the inbox.

use std::time::Duration;

use anyhow::Context;
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
use omni_box::prelude::*;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::kafka::Kafka;
use crate::shop::{Shop, ship};

/// In one process here; in yours, wherever you like.
pub(crate) struct Services<S: Shop> {
    relay: Option<OutboxRelay<S>>,
    shipping: Option<InboxConsumerRunner<S>>,
    running: JoinSet<(&'static str, omni_box::Result<()>)>,
    shutdown: CancellationToken,
}

impl<S: Shop> Services<S> {
    pub(crate) fn new(store: S, kafka: &Kafka) -> anyhow::Result<Self> {
        let publisher = KafkaEventPublisher::from_config(
            KafkaPublisherConfig::new(kafka.brokers()),
            EnvelopeEventConverter,
        )?;
        let relay = OutboxRelay::builder(store.clone(), publisher)
            // a handler may hold the only write lock of a SQLite file for as long as it may take: leases must live longer
            .lease_ttl(Duration::from_secs(60))
            .build()?;

        let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(
            kafka.brokers(),
            kafka.group(),
            [kafka.topic()],
        ))?;
        let shipping =
            InboxConsumerRunner::builder(consumer, store).handler(on("order.placed", ship::<S>)).build()?;
        Ok(Self {
            relay: Some(relay),
            shipping: Some(shipping),
            running: JoinSet::new(),
            shutdown: CancellationToken::new(),
        })
    }

    /// Starts the relay.
    pub(crate) fn start_relay(&mut self) {
        if let Some(relay) = self.relay.take() {
            let shutdown = self.shutdown.clone();
            self.running.spawn(async move { ("the relay", relay.run(shutdown).await) });
        }
    }

    /// Starts the consumer.
    pub(crate) fn start_shipping(&mut self) {
        if let Some(mut shipping) = self.shipping.take() {
            let shutdown = self.shutdown.clone();
            self.running.spawn(async move { ("the consumer", shipping.run_forever(&shutdown).await) });
        }
    }

    /// Ends both: what is in flight is finished, leases and partitions are handed back.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        while let Some(ended) = self.running.join_next().await {
            let (who, outcome) = ended?;
            outcome.with_context(|| format!("{who} failed"))?;
        }
        Ok(())
    }
}
