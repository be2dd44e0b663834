//! A worker's messages in memory, from their arrival to their outcomes.
//!
//! [`Messages`] keeps them in an ordered [`window`], and takes groups of them through one transaction each ([`transact`](crate::transact)).
//! It does what follows from a transaction that failed as a whole ([`setback`]). Where they come from is its owner's business: a partition
//! of a broker, or rows that were stored before.

mod group_size;
mod messages;
mod setback;
mod trust;
mod window;

pub(crate) use messages::{Messages, StopSignal};
