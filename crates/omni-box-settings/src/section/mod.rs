//! What the sections turn into, one file for each.

mod database;
mod inbox;
#[cfg(feature = "kafka")]
mod kafka;
mod maintenance;
mod relay;
mod retry;
mod worker;
