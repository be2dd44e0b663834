//! The time of day, as the domain reads it.

use std::fmt;

use chrono::{DateTime, Utc};

/// Tells the time of day. Stores read their database's own clock; this one is for what the domain decides in memory.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now.
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
