//! Tests of the SQLite store on files of their own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod conformance;
mod context;
mod database;
mod faults;
mod kill;
mod lanes;
mod migrate;
mod plans;
mod processes;
mod retention;
mod rows;
mod stored;
mod transaction;
mod wakeup;
