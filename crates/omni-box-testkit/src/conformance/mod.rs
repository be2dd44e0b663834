//! The contracts of the traits as tests: what a store or broker must pass to be one.

mod fixture;

pub use fixture::{BareConnections, ConsumerFixture, InboxFixture, Outages, PublisherFixture, StoreFixture};
