//! Counts the statements that this process sends, as sqlx logs them: the same way on every database.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where sqlx logs each statement.
pub(crate) const TARGET: &str = "sqlx::query";

static STATEMENTS: AtomicU64 = AtomicU64::new(0);

/// Counts what it hears.
pub(crate) struct Counting;

impl<S: Subscriber> Layer<S> for Counting {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut beginning = Beginning(false);
        event.record(&mut beginning);
        STATEMENTS.fetch_add(u64::from(!beginning.0), Ordering::Relaxed);
    }
}

/// Whether a statement opens a transaction: sqlx logs that only where settings of the transaction are sent along.
struct Beginning(bool);

impl Visit for Beginning {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0 |= field.name() == "summary" && value.starts_with("begin");
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

/// Statements so far, without `begin` and `commit`.
pub(crate) fn counted() -> u64 {
    STATEMENTS.load(Ordering::Relaxed)
}
