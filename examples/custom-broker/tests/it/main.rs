//! The publisher against a receiver on this machine.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod answers;
mod conformance;
mod readme;
mod receiver;
mod relay;
mod signature;
