//! Tests of the engine on real servers.

mod by_hand;
mod inbox;
mod relay;
