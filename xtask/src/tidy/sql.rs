//! Every SQL text exists once: in a file, or in the code, and not in two of them. Two that differ by the table alone are one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Findings, files, shown};

const VERBS: [&str; 6] = ["select ", "insert ", "update ", "delete ", "with ", "create "];
/// A shorter statement in the code may well be the same as another by chance.
const SHORTEST_INLINED: usize = 60;

/// Compares the `.sql` files below `root` with each other and with the statements in `sources`.
pub(super) fn check(root: &Path, sources: &[PathBuf], findings: &mut Findings) -> Result<()> {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // A link to a file is the same file.
    for path in files(root, &["sql"])? {
        places.entry(normalised(&std::fs::read_to_string(&path)?)).or_default().insert(shown(&path, root));
    }
    for dir in sources {
        for path in files(dir, &["rs"])? {
            for literal in string_literals(&std::fs::read_to_string(&path)?) {
                let text = normalised(&literal);
                if text.len() > SHORTEST_INLINED && VERBS.iter().any(|verb| text.starts_with(verb)) {
                    places.entry(text).or_default().insert(shown(&path, root));
                }
            }
        }
    }
    for (text, places) in places {
        if places.len() > 1 && !text.is_empty() {
            let places = Vec::from_iter(places).join(" and ");
            let start: String = text.chars().take(50).collect();
            findings.errors.push(format!("the same SQL is in {places}: {start}"));
        }
    }
    Ok(())
}

/// Without comments, case, line breaks and the closing semicolon; outbox and inbox are one.
fn normalised(sql: &str) -> String {
    let lines = sql.lines().map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    let words: Vec<String> = lines.flat_map(str::split_whitespace).map(str::to_lowercase).collect();
    let text = words.join(" ").replace("outbox", "box").replace("inbox", "box");
    text.trim_end_matches([';', ' ']).to_owned()
}

/// The texts of all string literals, plain and raw; comments and character literals passed over.
pub(super) fn string_literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(next) = rest.chars().next() {
        if rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest = &rest[3..];
        } else if let Some((text, after)) = raw_literal(rest) {
            found.push(text.to_owned());
            rest = after;
        } else if let Some(open) = rest.strip_prefix('"') {
            let (text, after) = plain_literal(open);
            found.push(text);
            rest = after;
        } else {
            rest = &rest[next.len_utf8()..];
        }
    }
    found
}

/// `r"..."`, `r#"..."#` at the start of `code`: the text and what follows.
fn raw_literal(code: &str) -> Option<(&str, &str)> {
    let hashes = code.strip_prefix('r')?;
    let open = hashes.trim_start_matches('#');
    let end = format!("\"{}", &hashes[..hashes.len() - open.len()]);
    open.strip_prefix('"')?.split_once(&end)
}

/// What follows an opening quote: the text up to the closing one, and what follows that.
fn plain_literal(code: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = code.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &code[at + 1..]),
            '\\' => match chars.next() {
                // Escapes of white space and a continued line: all the same once normalised.
                Some((_, 'n' | 't' | 'r' | '\n')) | None => text.push(' '),
                Some((_, escaped)) => text.push(escaped),
            },
            other => text.push(other),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: &str = "select id, topic, payload\nfrom outbox_events -- the hot table\nwhere status = 'pending' and seq > $1;\n";

    fn errors(files: &[(&str, &str)]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir()?;
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
            std::fs::write(path, text)?;
        }
        std::os::unix::fs::symlink(dir.path().join("a.sql"), dir.path().join("link.sql"))?;
        std::os::unix::fs::symlink(dir.path(), dir.path().join("linked_dir"))?;
        let source = dir.path().join("src");
        std::fs::create_dir_all(&source)?;
        let mut findings = Findings::default();
        check(dir.path(), &[source], &mut findings)?;
        Ok(findings.errors)
    }

    #[test]
    fn links_are_no_second_copy() -> Result<()> {
        assert_eq!(errors(&[("a.sql", STATEMENT), ("b.sql", "select 2")])?, [""; 0]);
        Ok(())
    }

    #[test]
    fn two_files_with_the_same_text_are_found() -> Result<()> {
        let copy = STATEMENT.to_uppercase().replace('\n', "\n\n  ");
        let found = errors(&[("a.sql", STATEMENT), ("deep/b.sql", &copy)])?;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("the same SQL is in a.sql and deep/b.sql: select id"), "{found:?}");
        Ok(())
    }

    #[test]
    fn two_files_that_differ_by_the_table_are_found() -> Result<()> {
        let found = errors(&[("a.sql", STATEMENT), ("b.sql", &STATEMENT.replace("outbox", "inbox"))])?;
        assert_eq!(found.len(), 1, "{found:?}");
        Ok(())
    }

    #[test]
    fn a_file_and_a_statement_in_the_code_are_found() -> Result<()> {
        let plain = "const Q: char = '\"'; const S: &str = \"select id, topic, payload \\\n    from outbox_events where status = 'pending' and seq > $1\";";
        let raw = format!("fn f() {{ query(r#\"{STATEMENT}\"#) }}");
        for code in [plain, &raw] {
            let found = errors(&[("a.sql", STATEMENT), ("src/deep/x.rs", code)])?;
            assert_eq!(found.len(), 1, "{code}");
            assert!(found[0].contains("a.sql and src/deep/x.rs"), "{found:?}");
        }
        Ok(())
    }

    #[test]
    fn short_statements_comments_and_other_texts_are_not() -> Result<()> {
        let code = format!("/// \"{STATEMENT}\"\nlet q = \"select 1\"; let t = \"selected: {STATEMENT}\";");
        let code = code.replace("\nfrom", " from").replace("-- the hot table\n", "");
        assert_eq!(errors(&[("a.sql", "select 1"), ("b.sql", STATEMENT), ("src/x.rs", &code)])?, [""; 0]);
        Ok(())
    }
}
