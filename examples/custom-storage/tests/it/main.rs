//! The store against its contracts, and in an application.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod conformance;
mod file;
mod flow;
mod readme;
