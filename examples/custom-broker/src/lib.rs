#![doc = include_str!("../README.md")]

mod publisher;
mod signature;

pub use publisher::{WebhookConfig, WebhookPublisher};
pub use signature::Signer;
