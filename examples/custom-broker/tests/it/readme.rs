//! The code in the README is the code of this crate.

/// Code without its white space and its comments.
fn bare(code: &str) -> String {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(str::split_whitespace).collect()
}

#[test]
fn what_the_readme_quotes_is_compiled() {
    let sources = [
        include_str!("../../src/publisher.rs"),
        include_str!("../../src/signature.rs"),
        include_str!("answers.rs"),
        include_str!("conformance.rs"),
        include_str!("receiver.rs"),
    ]
    .map(bare);
    let quotes: Vec<&str> = include_str!("../../README.md")
        .split("```rust\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(!quotes.is_empty());
    for quote in quotes {
        // `...` stands for code that is left out
        for part in quote.split("...") {
            let found = sources.iter().any(|source| source.contains(&bare(part)));
            assert!(found, "in the README, and not in the crate:\n{part}");
        }
    }
}
