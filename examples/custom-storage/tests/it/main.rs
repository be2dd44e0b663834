//! The store against its contracts, and in an application.

mod conformance;
mod flow;
