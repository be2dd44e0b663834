//! Each case of the suites is proven by a flaw.

use std::collections::BTreeSet;

const SUITES: [&str; 2] =
    [include_str!("../../../src/macros/broker.rs"), include_str!("../../../src/macros/store.rs")];
const FLAWS: [&str; 3] =
    [include_str!("consumer.rs"), include_str!("publisher.rs"), include_str!("store/flaw.rs")];

/// The cases that the macros list: `in (module): case case }`.
fn cases() -> BTreeSet<String> {
    let mut cases = BTreeSet::new();
    for list in SUITES.iter().flat_map(|suite| suite.split("in (").skip(1)) {
        let Some((module, names)) = list.split_once("):") else { continue };
        let names = names.split('}').next().unwrap_or_default();
        cases.extend(
            names
                .split_whitespace()
                .filter(|name| !name.contains('$'))
                .map(|name| format!("{module}::{name}")),
        );
    }
    cases
}

/// The cases that a flaw must fail.
fn proven() -> BTreeSet<&'static str> {
    let is_in_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = FLAWS.iter().flat_map(|flaws| flaws.split(move |letter| !is_in_path(letter)));
    words.filter(|word| word.contains("::")).collect()
}

#[test]
fn every_case_fails_for_a_flaw() {
    let (cases, proven) = (cases(), proven());
    assert!(cases.len() > 190, "{} cases are listed", cases.len());
    let unproven: Vec<_> = cases.iter().filter(|case| !proven.contains(case.as_str())).collect();
    assert!(unproven.is_empty(), "no flaw shows that these cases find anything: {unproven:#?}");
}
