//! What omni-box's tests stand on: servers, a database and topics of one's own, processes to kill.
//!
//! A test that needs servers begins like this, and returns where there are none:
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use omni_box_harness::{TestDatabase, servers, topic};
//!
//! let Some(servers) = servers() else { return Ok(()) };
//! let database = TestDatabase::create().await?;
//! let topic = topic::create_topic(&servers.kafka_brokers, "orders", 3, &[]).await?;
//! // ...
//! database.close().await
//! # }
//! ```

mod canary;
mod database;
mod environment;
mod eventually;
pub mod example;
pub mod judge;
mod log;
pub mod process;
pub mod services;
pub mod topic;
pub mod usage;

pub use database::TestDatabase;
pub use environment::{
    DATABASE_URL, GO, KAFKA_BROKERS, NODE, PYTHON, REQUIRE, SKIPPED, Servers, go, kafka, node, postgres,
    python, servers,
};
pub use eventually::eventually;
pub use log::{Log, guard_log};
