//! The publisher and the consumer on real Kafka, and on librdkafka's mock cluster where brokers come and go.

mod cluster;
mod outage;
mod publish;
