//! What the derive macro makes of a type, and what it refuses.

mod compile_fail;
mod derive;
mod handlers;
