//! A broker of one's own for omni-box: outbox events as signed webhooks. The README beside it tells how it came about, step by step.

mod publisher;
mod signature;

pub use publisher::{WebhookConfig, WebhookPublisher};
pub use signature::Signer;
