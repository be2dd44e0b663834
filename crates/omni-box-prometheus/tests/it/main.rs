//! Metrics on a registry, told by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

mod labels;
mod names;
mod page;
mod sampled;
mod told;
