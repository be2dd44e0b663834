//! Counts the statements that this process sends, as sqlx logs them: the same way on every database.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where sqlx logs each statement.
pub(crate) const TARGET: &str = "sqlx::query";

static STATEMENTS: AtomicU64 = AtomicU64::new(0);

/// Counts what it hears.
pub(crate) struct Counting;

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
        STATEMENTS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Statements so far, without `begin` and `commit`.
pub(crate) fn counted() -> u64 {
    STATEMENTS.load(Ordering::Relaxed)
}
