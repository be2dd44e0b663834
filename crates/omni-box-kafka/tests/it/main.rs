//! The publisher and the consumer on real Kafka, and on librdkafka's mock cluster where brokers come and go.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod apart;
mod chatter;
mod cluster;
mod commits;
mod conformance;
mod consume;
mod denied;
mod denier;
mod encoded;
mod ends;
mod fatal;
mod handover;
mod lost;
mod memory;
mod outage;
mod own;
mod proxy;
mod publish;
mod recreated;
mod security;
mod wire;
