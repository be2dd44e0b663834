//! The test kit, tested.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod assertions;
mod broker;
mod enqueue;
mod events;
mod faults;
mod memory;
mod proxy;
