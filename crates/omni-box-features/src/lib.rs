//! Holds nothing: its `Cargo.toml` names the features that the build of the workspace has.
