//! Migrations from JSON to JSON.

use std::collections::BTreeSet;

use omni_box_core::{ErrorKind, Payload, Result, SchemaRegistry};
use proptest::prelude::*;
use serde_json::{Value, json};

type Edge = (&'static str, &'static str);

/// A registry of one type whose migrations note where they lead.
fn registry(current: &str, edges: &[Edge]) -> Result<SchemaRegistry> {
    let start = SchemaRegistry::builder().current("order.placed", current);
    let with = edges.iter().fold(start, |builder, &(from, to)| {
        builder.migration("order.placed", from, to, move |mut value: Value| {
            value["path"].as_array_mut().ok_or("there is no path")?.push(json!(to));
            Ok::<_, String>(value)
        })
    });
    with.build()
}

fn payload() -> Payload {
    Payload::from_text(r#"{ "path": [], "z": 9007199254740993, "a": 1.50 }"#).unwrap()
}

/// The versions that a payload goes through.
fn path(registry: &SchemaRegistry, version: &str) -> Result<Vec<String>> {
    let migrated = registry.migrate("order.placed", Some(version), &payload())?;
    let value: Value = migrated.deserialize()?;
    Ok(value["path"].as_array().unwrap().iter().map(|to| to.as_str().unwrap().to_owned()).collect())
}

fn error(result: Result<impl std::fmt::Debug>, kind: ErrorKind) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind);
    error.to_string()
}

#[test]
fn the_way_is_the_shortest_and_of_two_the_one_registered_first() {
    let registry =
        registry("4", &[("1", "2"), ("2", "3"), ("3", "4"), ("1", "3"), ("1", "2.5"), ("2.5", "4")]).unwrap();
    assert_eq!(path(&registry, "1.9").unwrap(), ["3", "4"]);
    assert_eq!(path(&registry, "2.1").unwrap(), ["3", "4"]);
    assert_eq!(path(&registry, "2.5.1").unwrap(), ["4"]);
}

#[test]
fn what_is_current_is_handed_back_to_the_byte() {
    let registry = registry("2", &[("1", "2")]).unwrap();
    let migrated = registry.migrate("order.placed", Some("2.7"), &payload()).unwrap();
    assert_eq!(migrated.as_str(), payload().as_str());
}

#[test]
fn what_cannot_be_migrated_is_an_error_that_lists_what_is_registered() {
    let builder = || SchemaRegistry::builder().current("order.placed", "3").current("order.cancelled", "1");
    let same = |value| Ok::<_, String>(value);
    let registry = builder()
        .migration("order.placed", "1", "2", same)
        .migration("order.placed", "3", "1", same)
        .build()
        .unwrap();
    let migrate =
        |event_type, version| error(registry.migrate(event_type, version, &payload()), ErrorKind::Decode);
    assert_eq!(
        migrate("order.lost", None),
        r#"event type "order.lost" is not registered, known are order.cancelled, order.placed"#
    );
    assert_eq!(
        migrate("order.placed", Some("10")),
        r#"order.placed has no version that reads "10", known are 1, 2, 3"#
    );
    assert_eq!(
        migrate("order.placed", None),
        "order.placed: no migrations lead from 1 to 3, known are 1 to 2, 3 to 1"
    );
    let empty = SchemaRegistry::builder().build().unwrap();
    let nothing = error(empty.migrate("t", None, &payload()), ErrorKind::Decode);
    assert_eq!(nothing, r#"event type "t" is not registered, known are none"#);
}

#[test]
fn a_migration_that_fails_is_named() {
    let registry = SchemaRegistry::builder()
        .current("order.placed", "2")
        .migration("order.placed", "1", "2", |_| Err::<Value, _>("no amount"))
        .build()
        .unwrap();
    let error = registry.migrate("order.placed", Some("1"), &payload()).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
    assert_eq!(error.chain(), "migration of order.placed from 1 to 2 failed: no amount");
}

#[test]
fn what_no_database_stores_is_not_handed_out() {
    let registry = SchemaRegistry::builder()
        .current("t", "2")
        .migration("t", "1", "2", |_| Ok::<_, String>(json!({"a": "\0"})))
        .build()
        .unwrap();
    let text = error(registry.migrate("t", Some("1"), &payload()), ErrorKind::Decode);
    assert_eq!(text, "migrations of t from 1 made what cannot be stored");
}

#[test]
fn build_names_all_faults() {
    let same = |value| Ok::<_, String>(value);
    let result = SchemaRegistry::builder()
        .current("a", "1")
        .current("a", "2")
        .current("b", "")
        .migration("a", "1", "2", same)
        .migration("a", "1", "2", same)
        .migration("a", "2", "2", same)
        .migration("a", "", "2", same)
        .migration("c", "1", "2", same)
        .build();
    assert_eq!(
        error(result, ErrorKind::Invalid),
        "schema registry: a has two current versions, 1 and 2; the current version of b is empty; \
         a has two migrations from 1 to 2; a has a migration from 2 to itself; \
         a has a migration with an empty version; c has a migration from 1 to 2, and no current version"
    );
}

const VERSIONS: [&str; 8] = ["1", "1.0.0", "1.2", "2", "2.0", "20", "3", "3.1.4"];

/// Every way without a repeat, by trying all.
fn ways(edges: &[Edge], from: &str, to: &str, been: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    if from == to {
        found.push(been.clone());
        return;
    }
    for (_, next) in edges.iter().filter(|(start, _)| *start == from) {
        if !been.iter().any(|version| version == next) {
            been.push((*next).to_owned());
            ways(edges, next, to, been, found);
            been.pop();
        }
    }
}

/// What a version is read by: every beginning of it that ends before a dot, the longest first.
fn known<'a>(versions: &BTreeSet<&'a str>, version: &str) -> Option<&'a str> {
    let parts: Vec<&str> = version.split('.').collect();
    let beginnings = (1..=parts.len()).rev().map(|length| parts[..length].join("."));
    beginnings.into_iter().find_map(|text| versions.get(text.as_str()).copied())
}

proptest! {
    #[test]
    fn random_graphs_agree_with_trying_every_way(
        pairs in prop::collection::btree_set((0..VERSIONS.len(), 0..VERSIONS.len()), 0..20),
        current in 0..VERSIONS.len(),
        tail in prop::sample::select(vec!["", ".0", ".1", ".0.7", "1", ".", "-rc"]),
        start in 0..VERSIONS.len(),
    ) {
        let edges: Vec<Edge> = pairs
            .into_iter()
            .filter(|(from, to)| from != to)
            .map(|(from, to)| (VERSIONS[from], VERSIONS[to]))
            .collect();
        let current = VERSIONS[current];
        let version = format!("{}{tail}", VERSIONS[start]);
        let versions: BTreeSet<&str> =
            edges.iter().flat_map(|&(from, to)| [from, to]).chain([current]).collect();
        let found = path(&registry(current, &edges).unwrap(), &version);

        let Some(from) = known(&versions, &version) else {
            let text = error(found, ErrorKind::Decode);
            let listed = Vec::from_iter(versions).join(", ");
            prop_assert_eq!(text, format!("order.placed has no version that reads {version:?}, known are {listed}"));
            return Ok(());
        };
        let mut all = Vec::new();
        ways(&edges, from, current, &mut vec![from.to_owned()], &mut all);
        match all.iter().map(Vec::len).min() {
            Some(fewest) => {
                let way = [vec![from.to_owned()], found.unwrap()].concat();
                prop_assert!(all.contains(&way), "{way:?} is none of {all:?}");
                prop_assert_eq!(way.len(), fewest);
            }
            None => {
                let text = error(found, ErrorKind::Decode);
                let start = format!("order.placed: no migrations lead from {from} to {current}, known are ");
                prop_assert!(text.starts_with(&start), "{text}");
            }
        }
    }
}
