//! What gates log.

use omni_box_harness::Log;

/// Each change of a gate's state that this thread logs, as `gate: message`.
pub(crate) struct GateLog(Log);

impl GateLog {
    /// Listens until it is dropped.
    pub(crate) fn listen() -> Self {
        Self(Log::listen())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let events = self.0.events().into_iter();
        events
            .filter_map(|event| Some(format!("{}: {}", event.get("gate")?, event.get("message")?)))
            .collect()
    }

    /// What one outage of `what` logs.
    pub(crate) fn outage(what: &str) -> Vec<String> {
        ["unavailable, waiting", "available again"].map(|line| format!("{what}: {line}")).to_vec()
    }
}
