//! The inbox runner on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub(crate) mod batch;
mod blocking;
pub(crate) mod broker;
mod cancel;
mod company;
mod contention;
mod covered;
mod ended;
mod ended_file;
mod failures;
pub(crate) mod faults;
mod gates;
mod group;
mod held_back;
mod kafka;
mod lifecycle;
mod load;
pub(crate) mod memory;
mod metrics;
mod order;
mod outage;
mod poison;
mod result;
mod sealed;
pub(crate) mod service;
mod several;
mod silence;
mod status;
mod stuck;
mod table;
mod topic;
mod turns;
mod unlisted;
mod waiting;
