//! Tests of the harness.

mod judge;
