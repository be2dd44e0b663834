//! Services to do harm to: databases, topics and programs of a test's own, and the judge at the end.

pub mod shop;
pub mod storm;
pub mod world;
