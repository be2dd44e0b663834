//! A third store's use of what SQL stores share, without a database.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod control;
mod dialect;
mod error;
mod migration;
mod parameter;
mod public_types;
mod query;
mod row;
mod table;
