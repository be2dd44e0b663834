//! Steps that are ready to use.

mod breaker;
mod dead_letter;
mod innermost;
mod metrics;
mod options;
mod shared_breaker;
mod siblings;

pub use breaker::CircuitBreakerStep;
pub use dead_letter::DlqStep;
pub use innermost::{HandlerExecutionStep, PublisherExecutionStep};
pub use metrics::MetricsStep;
pub use options::{OutboxProcessorOptions, ProcessorOptions, StepOptions};
pub use shared_breaker::SharedBreaker;
pub use siblings::SiblingDeduplicationStep;
