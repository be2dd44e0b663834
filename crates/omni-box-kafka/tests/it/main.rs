//! The publisher and the consumer on real Kafka, and on librdkafka's mock cluster where brokers come and go.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod conformance;
mod consume;
mod handover;
mod outage;
mod publish;
