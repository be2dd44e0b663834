//! A store of one's own for omni-box, on the embedded database redb. The README beside it tells how it came about, step by step.

mod inbox;
mod repository;
mod row;
mod store;
mod table;

pub use row::Kind;
pub use store::{RedbStore, RedbTx};
