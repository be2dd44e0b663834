//! The inbox runner: from a broker's partitions to handlers, each message taking effect once.
//!
//! Every assigned partition has a worker ([`partition`]), which takes its messages through transactions in groups
//! ([`work`](crate::work)). Offsets are acknowledged behind the commit ([`acker`]).

mod acker;
mod builder;
mod config;
mod held_back;
mod outcome;
mod partition;
mod runner;
mod shared;

pub use builder::InboxConsumerRunnerBuilder;
pub use config::InboxConfig;
pub use outcome::InboxConsumeResult;
pub use runner::InboxConsumerRunner;
