//! Comments and pages name who acts, and say what a thing is.

use std::path::Path;

use anyhow::Result;

use super::{Findings, files, shown};

/// An actor without a name, words for always, a page that the reader lacks.
const REFUSED: [&[&str]; 5] = [&["nobody"], &["somebody"], &["whoever"], &["for", "ever"], &["the", "guide"]];
/// Before a noun: `is not a` says it better. After `there` it is right.
const NEGATED: [&[&str]; 2] = [&["is", "no"], &["are", "no"]];

/// How many findings stand in a folder today; the number only shrinks. A released migration is never edited.
const KNOWN: [(&str, usize); 3] = [
    ("crates/omni-box-postgres/migrations/", 1),
    ("crates/omni-box-sqlite/migrations/", 1),
    ("xtask/src/tidy/words.rs", 8),
];

/// Looks through comments of code, and through pages.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let mut found = Vec::new();
    for file in files(root, &["rs", "sql", "md"])? {
        let is_page = file.extension().is_some_and(|ending| ending == "md");
        let mark = if file.extension().is_some_and(|ending| ending == "sql") { "--" } else { "//" };
        for (at, line) in std::fs::read_to_string(&file)?.lines().enumerate() {
            let prose = if is_page { Some(line) } else { line.split_once(mark).map(|(_, comment)| comment) };
            for words in prose.map(refused).unwrap_or_default() {
                found.push((shown(&file, root), at + 1, words));
            }
        }
    }
    compare(found, &KNOWN, findings);
    Ok(())
}

fn compare(found: Vec<(String, usize, String)>, known: &[(&str, usize)], findings: &mut Findings) {
    for (folder, most) in known {
        let there = found.iter().filter(|(path, ..)| path.starts_with(folder)).count();
        if there > *most {
            findings.errors.push(format!("{folder} has {there} words that name no actor, {most} are known"));
        }
    }
    for (path, line, words) in found {
        if !known.iter().any(|(folder, _)| path.starts_with(folder)) {
            findings.errors.push(format!("{path}:{line}: {words:?} names no actor or thing, find a noun"));
        }
    }
}

/// What a line says that it should not; what is quoted as code does not count.
fn refused(line: &str) -> Vec<String> {
    let prose = line.split('`').step_by(2).collect::<Vec<_>>().join(" x ").to_lowercase();
    let prose = prose.replace(['.', ':', ';'], " x ");
    let words: Vec<&str> =
        prose.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut found = Vec::new();
    for at in 0..words.len() {
        let rest = &words[at..];
        let before = at.checked_sub(1).map(|before| words[before]);
        let is_negated = NEGATED.iter().any(|negated| rest.starts_with(negated))
            && before != Some("there")
            && rest.get(2) != Some(&"longer");
        if let Some(words) = REFUSED.iter().find(|refused| rest.starts_with(refused)) {
            found.push(words.join(" "));
        } else if is_negated {
            found.push(rest[..2].join(" "));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(name: &str, text: &str) -> Result<Vec<String>> {
        let root = tempfile::tempdir()?;
        std::fs::write(root.path().join(name), text)?;
        let mut findings = Findings::default();
        check(root.path(), &mut findings)?;
        Ok(findings.errors)
    }

    #[test]
    fn what_names_no_actor_is_found() -> Result<()> {
        for (line, words) in [
            ("/// Nobody's lock.", "nobody"),
            ("let a = 1; // for whoever waits", "whoever"),
            ("//! Waits for ever.", "for ever"),
            ("/// A text that is no JSON.", "is no"),
        ] {
            let expected = format!("a.rs:1: {words:?} names no actor or thing, find a noun");
            assert_eq!(errors("a.rs", line)?, [expected], "{line}");
        }
        assert_eq!(errors("a.sql", "select 1 -- nobody")?.len(), 1);
        assert_eq!(errors("a.md", "As the guide says, somebody does.")?.len(), 2);
        Ok(())
    }

    #[test]
    fn code_names_and_plain_english_are_not() -> Result<()> {
        for line in [
            "let nobody = 1;",
            "/// As `nobody`.",
            "/// There is no row; it is no longer there.",
            "// forever",
            "// That it is. No answer came.",
        ] {
            assert_eq!(errors("a.rs", line)?, [""; 0], "{line}");
        }
        Ok(())
    }

    #[test]
    fn what_is_known_may_only_shrink() {
        let found = || vec![("p/a.rs".to_owned(), 1, "nobody".to_owned())];
        for (known, errors) in [(1, 0), (2, 0), (0, 1)] {
            let mut findings = Findings::default();
            compare(found(), &[("p/", known)], &mut findings);
            assert_eq!(findings.errors.len(), errors, "{known} known");
        }
    }
}
