//! Does nothing: cargo builds the dependencies of a build script only where there is one.

fn main() {}
