//! The contracts of the traits as tests: what a store or broker must pass to be one.
//!
//! A store's crate writes a fixture, and one line for each of its tables:
//!
//! ```text
//! omni_box_conformance::outbox_conformance!(MyFixture, capabilities: [bulk, locking]);
//! omni_box_conformance::inbox_conformance!(MyFixture, capabilities: [bulk, locking, savepoints]);
//! ```
//!
//! Each line becomes one test for each case. A case is a function here, named for what it shows; its documentation names the part of
//! the contract that it checks. The tests need `tokio` with `macros`, `rt-multi-thread` and `time` beside this crate.
//!
//! What does not apply has no test, so that no test passes that has shown nothing. One says instead what a store offers, by
//! `capabilities`, and what a publisher promises, by `send_order`. A test compares that with what the store or publisher says itself, fails
//! if the two differ, and prints what is not applicable.
//!
//! A new suite is a module of cases, and a macro that lists them. Where it belongs to a capability, it is a line too in the macro that
//! chooses suites by capability.

pub mod bare;
pub mod breaker;
pub mod bulk;
mod capability;
pub mod consumer;
pub mod dead_letter;
mod delivery;
mod fixture;
pub mod inbox;
pub mod inspection;
pub mod lanes;
pub mod locking;
mod macros;
mod member;
pub mod model;
pub mod outage;
pub mod outbox;
pub mod publisher;
pub mod repository;
pub mod retention;
pub mod savepoint;
pub mod sealed;
mod specimen;
mod table;
mod transaction;
pub mod wakeup;

use std::future::Future;
use std::time::Duration;

pub use fixture::{BareConnections, ConsumerFixture, InboxFixture, Outages, PublisherFixture, StoreFixture};
pub use specimen::Specimen;

/// What the macros call the kinds of event.
#[doc(hidden)]
pub mod events {
    pub use omni_box_core::{InboxEvent, OutboxEvent};
}

/// What the macros call a publisher's promise.
#[doc(hidden)]
pub mod send_order {
    pub use omni_box_core::SendOrder::{OnePerKey, Ordered};
}

/// Longer than any case takes.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// Runs a case on a fixture of its own, unless a server that it needs is not there.
#[doc(hidden)]
pub async fn check<F, C, R>(create: impl FnOnce() -> C, case: impl FnOnce(F) -> R)
where
    C: Future<Output = Option<F>>,
    R: Future<Output = ()>,
{
    let Some(fixture) = create().await else { return };
    // boxed: the futures of some cases are large
    let case = Box::pin(case(fixture));
    if tokio::time::timeout(CASE_LIMIT, case).await.is_err() {
        panic!("the case has not ended within {} s: something waits that should not", CASE_LIMIT.as_secs());
    }
}
