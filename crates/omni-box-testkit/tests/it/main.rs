//! The test kit, tested.
