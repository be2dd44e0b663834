//! Kills, freezes and outages, on real servers, with the judge at the end of each.
//!
//! Needs the servers of `cargo xtask services up`. The programs' logs are in `target/chaos/<test>`.

mod crash;
mod dead_letter;
mod file;
mod given_up;
mod inbox;
mod oracle;
mod outage;
mod relay;
mod storm;
