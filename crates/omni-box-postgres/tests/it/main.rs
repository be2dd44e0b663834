//! Tests of the PostgreSQL store on a real server.

mod database;
mod enqueue;
mod inbox;
mod lanes;
mod migrate;
mod plans;
mod rows;
mod wakeup;
