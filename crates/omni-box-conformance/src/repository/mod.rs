//! [`EventRepository`](omni_box_core::EventRepository): the same cases for outbox and inbox events.

pub mod create;
pub mod fetch;
pub mod mark;
