//! Mistakes are compile errors that say what would be right.

#[test]
fn mistakes_are_refused_with_these_messages() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
