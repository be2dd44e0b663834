//! What a store offers beyond the minimum, and what it is tested for.

/// Compares what a store advertises with what it is tested for; says which suites do not apply.
pub(super) fn assert_tested(advertised: &[(&str, bool)], tested: &[&str]) {
    for name in tested {
        assert!(
            advertised.iter().any(|(known, _)| known == name),
            "there is no suite {name:?} for this kind of store"
        );
    }
    for (name, has_it) in advertised {
        match (has_it, tested.contains(name)) {
            (true, true) => {}
            (false, false) => println!("not applicable: {name} (the store does not offer it)"),
            (true, false) => {
                panic!("the store offers {name}, but is not tested for it: add it to `capabilities`")
            }
            (false, true) => {
                panic!(
                    "the store is to be tested for {name}, but does not offer it: take it off `capabilities`"
                )
            }
        }
    }
}
