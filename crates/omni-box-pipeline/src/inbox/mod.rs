//! The inbox runner: from a broker's partitions to handlers, each message taking effect once.
//!
//! Every assigned partition has a worker ([`partition`]) with an ordered window of messages in memory ([`window`]). It takes groups
//! of them through one transaction each ([`group`]), in which the handler runs per message inside a savepoint
//! ([`handling`]). What a failure costs is decided under the row's lock ([`judgement`]); what follows from a transaction that failed as a
//! whole is decided in [`setback`]. Offsets are acknowledged behind the commit ([`acker`]).

mod acker;
mod builder;
mod engine;
mod group;
mod handling;
mod judgement;
mod outcome;
mod pace;
mod partition;
mod policy;
mod runner;
mod setback;
#[cfg(test)]
mod setback_table;
mod window;

pub use builder::InboxConsumerRunnerBuilder;
pub use outcome::InboxConsumeResult;
pub use policy::{AckStrategy, CommitOffsetPolicy, OnFailed};
pub use runner::InboxConsumerRunner;
