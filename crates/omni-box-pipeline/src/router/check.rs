//! What is wrong with a router before its first event.

use std::collections::{BTreeMap, BTreeSet};

use omni_box_core::{Result, Store};

use super::route::Route;
use super::version::Version;
use crate::settings::misconfigured;

/// Names every mistake: routes that stand twice, and names without text.
pub(super) fn check<S: Store, D>(routes: &BTreeMap<String, Vec<Route<S, D>>>) -> Result<()> {
    let all = || routes.values().flatten();
    let mut seen: Vec<&Route<S, D>> = Vec::new();
    let mut mistakes = BTreeSet::new();
    for route in all() {
        if seen.iter().any(|before| before.is_same(route)) {
            mistakes.insert(format!("two handlers for {route}"));
        }
        seen.push(route);
        let empty_version = matches!(&route.version, Version::Of(version) if version.is_empty());
        if route.event_type.is_empty() || route.source.is_empty() || empty_version {
            mistakes.insert(format!("a handler for {route}, which has an empty name"));
        }
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    let mistakes: Vec<String> = mistakes.into_iter().collect();
    Err(misconfigured(mistakes.join("; ")))
}
