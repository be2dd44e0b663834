//! The README quotes code that is compiled.

const README: &str = include_str!("../../README.md");
const SOURCES: [&str; 8] = [
    include_str!("../../src/failure.rs"),
    include_str!("../../src/inbox.rs"),
    include_str!("../../src/lib.rs"),
    include_str!("../../src/repository.rs"),
    include_str!("../../src/store.rs"),
    include_str!("../../src/table.rs"),
    include_str!("conformance.rs"),
    include_str!("flow.rs"),
];

/// Lines without their indentation, and without empty ones.
fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::from("\n"), |text, line| text + line + "\n")
}

#[test]
fn every_quotation_is_in_the_code() {
    let quotations: Vec<&str> = README.split("```rs\n").skip(1).collect();
    assert!(quotations.len() > 10, "there are quotations");
    for quotation in quotations {
        let quotation = quotation.split("```").next().unwrap_or_default();
        let is_there = SOURCES.iter().any(|source| lines(source).contains(&lines(quotation)));
        assert!(is_there, "quoted in README.md, and not in the code:\n{quotation}");
    }
}
