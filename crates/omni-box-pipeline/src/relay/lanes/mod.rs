//! The relay in mode `lanes`: leases of lanes, the books of what is in flight, and the engine that decides.

mod bounds;
mod engine;
pub(crate) mod flight;
pub(crate) mod owned;
#[cfg(test)]
mod simulation;

pub(crate) use engine::Engine;
