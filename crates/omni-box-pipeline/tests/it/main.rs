//! Tests of the engine on real servers.

mod by_hand;
mod gate_log;
mod inbox;
mod maintenance;
mod members;
mod relay;
mod router;
mod settings;
mod steps;
mod stored;
mod trace_log;
mod workers;
