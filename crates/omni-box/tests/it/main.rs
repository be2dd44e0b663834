//! The facade as a user has it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[cfg(feature = "postgres")]
mod handler;
#[cfg(all(feature = "kafka-plaintext", feature = "postgres"))]
mod interop;
#[cfg(feature = "postgres")]
mod languages;
#[cfg(feature = "prometheus")]
mod metrics;
#[cfg(all(feature = "kafka-plaintext", feature = "macros", feature = "postgres"))]
mod readme;
#[cfg(all(feature = "kafka-plaintext", feature = "postgres", feature = "settings"))]
mod settings;
mod sqlite;
