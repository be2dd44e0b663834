//! Tests of the PostgreSQL store on a real server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod adopt;
mod begin_hook;
mod claims;
mod conformance;
mod connections;
mod context;
mod database;
mod enqueue;
mod foreign;
mod growth;
mod inbox;
mod inspection;
mod lanes;
mod migrate;
mod plans;
mod progress;
mod retention;
mod rows;
mod sequence;
mod stored;
mod wakeup;
