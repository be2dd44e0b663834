//! What gates log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// Keeps each change of a gate's state that this thread logs, as `gate: message`.
#[derive(Clone, Default)]
pub(crate) struct GateLog(Arc<Mutex<Vec<String>>>);

impl GateLog {
    /// Listens until the guard is dropped.
    pub(crate) fn listen() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    /// What one outage of `what` logs.
    pub(crate) fn outage(what: &str) -> Vec<String> {
        ["unavailable, waiting", "available again"].map(|line| format!("{what}: {line}")).to_vec()
    }
}

impl<S: tracing::Subscriber> Layer<S> for GateLog {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        if let Some(gate) = line.gate {
            self.0.lock().unwrap().push(format!("{gate}: {}", line.message));
        }
    }
}

#[derive(Default)]
struct Line {
    gate: Option<String>,
    message: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "gate" {
            self.gate = Some(value.to_owned());
        }
    }
}
