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
        let mut bound = Bound(false);
        event.record(&mut bound);
        STATEMENTS.fetch_add(u64::from(!bound.0), Ordering::Relaxed);
    }
}

/// Whether a statement begins or ends a transaction; which of them sqlx logs depends on the database.
struct Bound(bool);

impl Visit for Bound {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            let first = value.split([' ', ';']).next().unwrap_or_default();
            self.0 = ["begin", "commit", "rollback"].iter().any(|word| first.eq_ignore_ascii_case(word));
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn std::fmt::Debug) {}
}

/// Statements so far, without what begins and ends transactions.
pub(crate) fn counted() -> u64 {
    STATEMENTS.load(Ordering::Relaxed)
}
