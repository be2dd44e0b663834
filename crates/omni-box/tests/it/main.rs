//! The facade as a user has it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[cfg(feature = "postgres")]
mod handler;
mod sqlite;
