//! Kafka for omni-box: [`KafkaEventPublisher`] and [`KafkaEventConsumer`] on librdkafka.
//!
//! The publisher keeps the order of a partition over many messages in flight. The consumer commits the position up to
//! which everything delivered is done, and hands partitions over without skipping a message. Any librdkafka property can be
//! set (TLS, SASL, tuning), except those that would break these promises.
//!
//! ```no_run
//! use omni_box_core::EnvelopeEventConverter;
//! use omni_box_kafka::{KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaPublisherConfig};
//!
//! # fn run() -> omni_box_core::Result<()> {
//! let brokers = "localhost:9092";
//! let publisher = KafkaEventPublisher::from_config(KafkaPublisherConfig::new(brokers), EnvelopeEventConverter)?;
//! let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new(brokers, "shipping", ["orders"]))?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod consumer;
mod error;
mod logging;
mod publisher;

#[doc(no_inline)]
pub use rdkafka;

pub use consumer::{KafkaConsumerConfig, KafkaEventConsumer};
pub use error::delivery_error;
pub use publisher::{DeliveryContext, KafkaEventPublisher, KafkaProducer, KafkaPublisherConfig, RecordTime};
