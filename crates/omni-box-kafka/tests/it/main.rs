//! The publisher and the consumer on real Kafka, and on librdkafka's mock cluster where brokers come and go.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod chatter;
mod cluster;
mod conformance;
mod consume;
mod denied;
mod denier;
mod encoded;
mod fatal;
mod handover;
mod lost;
mod outage;
mod own;
mod proxy;
mod publish;
mod security;
mod wire;
