//! The inbox runner: from a broker's partitions to handlers, each message taking effect once.
//!
//! Every assigned partition has a worker ([`partition`]) with an ordered window of messages in memory ([`window`]). It takes groups
//! of them through one transaction each ([`transact`](crate::transact)). What follows from a transaction that failed as a whole is in
//! [`setback`]. Offsets are acknowledged behind the commit ([`acker`]).

mod acker;
mod builder;
mod config;
mod group_size;
mod outcome;
mod partition;
mod runner;
mod setback;
mod shared;
mod window;

pub use builder::InboxConsumerRunnerBuilder;
pub use config::InboxConfig;
pub use outcome::InboxConsumeResult;
pub use runner::InboxConsumerRunner;
