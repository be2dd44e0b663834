//! `OPERATING.md` has each line of level WARN or ERROR that the crates log, and no other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Findings, files, shown, sql};

const PAGE: &str = "OPERATING.md";
/// The heading of the table.
const SECTION: &str = "## Lines of the log";

/// Compares the table with the lines in `sources`.
pub(super) fn check(root: &Path, sources: &[PathBuf], findings: &mut Findings) -> Result<()> {
    let mut logged = BTreeMap::new();
    for dir in sources {
        for path in files(dir, &["rs"])? {
            for line in logged_by(&std::fs::read_to_string(&path)?) {
                logged.insert(line, shown(&path, root));
            }
        }
    }
    compare(&std::fs::read_to_string(root.join(PAGE))?, &logged, findings);
    Ok(())
}

/// `logged` has each line with the file that logs it.
fn compare(page: &str, logged: &BTreeMap<(&str, String), String>, findings: &mut Findings) {
    let listed = listed(page);
    for ((level, text), path) in logged {
        if !listed.iter().any(|(its_level, its_text)| its_level == level && its_text == text) {
            findings.errors.push(format!("{PAGE}: the table of log lines lacks {level} of {path}: {text}"));
        }
    }
    for (level, text) in &listed {
        if !logged.keys().any(|(its_level, its_text)| its_level == level && its_text == text) {
            findings.errors.push(format!("{PAGE}: nothing logs this line with level {level}: {text}"));
        }
    }
}

/// Level and text of each row of the table.
fn listed(page: &str) -> Vec<(String, String)> {
    let section = page.split_once(SECTION).map_or("", |(_, rest)| rest);
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| WARN") || line.starts_with("| ERROR"));
    let columns = |row: &str| {
        let mut columns = row.split('|').skip(1).map(str::trim);
        let (level, text) = (columns.next()?, columns.next()?);
        Some((level.to_owned(), text.trim_matches('`').to_owned()))
    };
    rows.filter_map(columns).collect()
}

/// Level and text of each warning and error that the code logs. The text is the last literal of the macro.
fn logged_by(code: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (name, level) in [("tracing::warn!(", "WARN"), ("tracing::error!(", "ERROR")] {
        for (at, _) in code.match_indices(name) {
            let texts = sql::string_literals(arguments(&code[at + name.len()..]));
            if let Some(text) = texts.last() {
                let words: Vec<&str> = text.split_whitespace().collect();
                found.push((level, words.join(" ")));
            }
        }
    }
    found
}

/// What stands before the parenthesis that closes the macro.
fn arguments(code: &str) -> &str {
    let (mut depth, mut is_text, mut is_escaped) = (1, false, false);
    for (at, char) in code.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_text = !is_text,
            '(' if !is_text => depth += 1,
            ')' if !is_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &code[..at];
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = r#"
        tracing::warn!(worker = %name("a"), text = "not this", "leases (all)\
            are lost"); tracing::info!("nor this");
        tracing::error!("ended for good");
    "#;

    fn findings(page: &str) -> Vec<String> {
        let logged = logged_by(CODE).into_iter().map(|line| (line, "x.rs".to_owned())).collect();
        let mut findings = Findings::default();
        compare(page, &logged, &mut findings);
        findings.errors
    }

    #[test]
    fn the_text_is_the_last_literal_of_the_macro() {
        let expected = [("WARN", "leases (all) are lost"), ("ERROR", "ended for good")];
        assert_eq!(logged_by(CODE), expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn a_table_with_each_line_is_complete() {
        let page = format!(
            "{SECTION}\n\n| level | line | means | do |\n|---|---|---|---|\n| WARN | `leases (all) are lost` | a | b |\n\
             | ERROR | `ended for good` | a | b |\n\n## Next\n| WARN | `not of the table` |"
        );
        assert_eq!(findings(&page), [""; 0]);
    }

    #[test]
    fn a_line_that_is_missing_of_another_level_or_logged_no_more_is_found() {
        let page =
            format!("{SECTION}\n| ERROR | `leases (all) are lost` | a | b |\n| WARN | `gone` | a | b |");
        let found = findings(&page);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(
            found.iter().any(|error| error.contains("lacks WARN of x.rs: leases (all) are lost")),
            "{found:?}"
        );
        assert!(
            found.iter().any(|error| error.contains("nothing logs this line with level WARN: gone")),
            "{found:?}"
        );
    }
}
