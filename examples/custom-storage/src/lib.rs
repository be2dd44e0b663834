#![doc = include_str!("../README.md")]

mod failure;
mod inbox;
mod repository;
mod store;
mod table;

pub use store::{RedbStore, RedbTx};
pub use table::Kind;
