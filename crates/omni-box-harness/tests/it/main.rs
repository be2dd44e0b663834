//! The harness on real servers and processes.

mod database;
mod judge;
mod log;
mod private_servers;
mod process;
mod topic;
