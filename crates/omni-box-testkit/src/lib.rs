//! What tests of omni-box applications and of its adapters stand on.
//!
//! - [`TestClock`]: a clock that tests move.
//! - [`conformance`]: the contracts of `omni-box-core`'s traits as tests, for every store and broker.

mod clock;
pub mod conformance;

pub use clock::TestClock;
