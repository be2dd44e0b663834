//! The facade as a user has it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[cfg(feature = "postgres-plaintext")]
mod handler;
#[cfg(all(feature = "kafka-plaintext", feature = "postgres-plaintext"))]
mod interop;
#[cfg(feature = "postgres-plaintext")]
mod languages;
#[cfg(feature = "prometheus")]
mod metrics;
#[cfg(all(feature = "kafka-plaintext", feature = "macros", feature = "postgres-plaintext"))]
mod readme;
#[cfg(all(feature = "kafka-plaintext", feature = "postgres-plaintext", feature = "settings"))]
mod settings;
#[cfg(all(
    feature = "kafka-plaintext",
    feature = "opentelemetry",
    feature = "postgres-plaintext",
    feature = "prometheus"
))]
mod signatures;
mod sqlite;
