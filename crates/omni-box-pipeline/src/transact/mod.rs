//! One group of messages through one transaction.
//!
//! A worker hands over messages ([`message`]) and what they are handled with ([`context`]). [`group`] inserts or locks their inbox rows, runs
//! the handler of each ([`handling`]), writes the outcomes and commits. While messages succeed that is a sealed transaction; after a failure
//! each handler runs inside a savepoint. What a failure costs a message is decided
//! under the row's lock ([`judgement`]). Why a transaction failed as a whole is a [`cause`]; whom that is charged to is
//! decided in [`blame`], and the worker does what follows. What the metrics learn of it is in [`observer`].
//!
//! Nothing here knows where messages come from: a partition of a broker, or rows that were stored before.

mod attempt;
mod blame;
#[cfg(test)]
mod blame_table;
mod cause;
mod context;
mod database;
mod group;
mod handling;
mod judgement;
mod left;
mod letters;
mod message;
mod observer;
mod policy;
mod running;
mod task;

pub(crate) use attempt::attempt;
pub(crate) use blame::{Blame, Doing, Evidence, Patience, Proof, blame};
pub(crate) use cause::Cause;
pub(crate) use context::Context;
pub(crate) use database::{Database, LONGEST_OUTAGE_RETRY};
pub(crate) use judgement::{Fate, LOOK_AGAIN, Stay};
pub(crate) use left::Left;
pub(crate) use letters::{Letters, Topic};
pub(crate) use message::{Body, Item, Stepped};
pub(crate) use observer::{InMemory, Observer, Watch};
pub use policy::{AckStrategy, CommitOffsetPolicy, OnFailed, SavepointPolicy};
pub(crate) use policy::{MAX_GROUP, MAX_SAVEPOINTS};
pub(crate) use running::Running;
pub(crate) use task::{GROUP_TIME, Marks, Recorded, Task};
