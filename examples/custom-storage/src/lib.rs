#![doc = include_str!("../README.md")]

mod failure;
mod inbox;
mod repository;
mod row;
mod store;
mod table;

pub use row::Kind;
pub use store::{RedbStore, RedbTx};
