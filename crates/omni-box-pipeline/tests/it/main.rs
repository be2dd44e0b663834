//! Tests of the engine on real servers.

mod inbox;
mod relay;
