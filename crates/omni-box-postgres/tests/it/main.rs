//! Tests of the PostgreSQL store on a real server.

mod database;
mod enqueue;
mod lanes;
mod migrate;
