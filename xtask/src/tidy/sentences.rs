//! A sentence of a page, or of the documentation of a crate, has 25 words at most.

use std::path::Path;

use anyhow::Result;

use super::{Findings, files, shown};

const LONGEST: usize = 25;

/// Names that begin a sentence as they are.
const NAMES: [&str; 3] = ["librdkafka", "omni-box", "sqlx"];

/// How many longer ones stand in a folder today; the number only shrinks.
const KNOWN: [(&str, usize); 1] = [("docs/benchmarks.md", 12)];

/// Looks through the documentation in `crates/*/src`, the README and `docs/`.
pub(super) fn check(root: &Path, findings: &mut Findings) -> Result<()> {
    let mut found = Vec::new();
    for file in files(root, &["rs", "md"])? {
        let path = shown(&file, root);
        if is_documentation(&path) {
            let text = std::fs::read_to_string(&file)?;
            let long =
                sentences(&text, path.ends_with(".md")).into_iter().filter(|(_, words)| *words > LONGEST);
            found.extend(long.map(|(line, words)| (path.clone(), line, words)));
        }
    }
    compare(found, &KNOWN, findings);
    Ok(())
}

/// Pages that a crate's own documentation makes are looked at there.
fn is_documentation(path: &str) -> bool {
    let is_page = path == "README.md" || path.starts_with("docs/") && path.ends_with(".md");
    is_page || path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs")
}

fn compare(found: Vec<(String, usize, usize)>, known: &[(&str, usize)], findings: &mut Findings) {
    let folder_of = |path: &str| known.iter().position(|(folder, _)| path.starts_with(folder));
    for (at, (folder, most)) in known.iter().enumerate() {
        let there = found.iter().filter(|(path, ..)| folder_of(path) == Some(at)).count();
        if there > *most {
            findings.errors.push(format!(
                "{folder} has {there} sentences of more than {LONGEST} words, {most} are known"
            ));
        }
    }
    for (path, line, words) in found.into_iter().filter(|(path, ..)| folder_of(path).is_none()) {
        findings.errors.push(format!("{path}:{line}: a sentence of {words} words, more than {LONGEST}"));
    }
}

/// The first line of the paragraph of each sentence, and how many words the sentence has. Code, tables and headings have none.
fn sentences(text: &str, is_page: bool) -> Vec<(usize, usize)> {
    let (mut found, mut paragraph, mut begins, mut is_code) = (Vec::new(), String::new(), 0, false);
    let lines = text.lines().chain([""]).enumerate();
    for (at, line) in lines {
        let line = line.trim();
        let prose = match is_page {
            true => Some(line),
            false => line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim),
        };
        let is_fence = prose.is_some_and(|line| line.starts_with("```"));
        is_code = prose.is_some() && is_code != is_fence;
        let prose = prose.filter(|_| !is_code && !is_fence).unwrap_or_default();
        let (mark, rest) = prose.split_once(' ').unwrap_or((prose, ""));
        let is_item =
            ["-", "*"].contains(&mark) || mark.strip_suffix('.').is_some_and(|n| n.parse::<u32>().is_ok());
        let bare = if is_item { rest } else { prose };
        let is_end = prose.is_empty() || is_item || prose.starts_with(['|', '#', '<']);
        if is_end {
            found.extend(words_of(&paragraph).into_iter().map(|words| (begins, words)));
            paragraph.clear();
        }
        if prose.starts_with(['|', '#', '<']) || bare.is_empty() {
            continue;
        }
        if paragraph.is_empty() {
            begins = at + 1;
        }
        paragraph = paragraph + bare + " ";
    }
    found
}

/// How many words each sentence of a paragraph has; what is quoted as code is one.
fn words_of(paragraph: &str) -> Vec<usize> {
    let prose: String =
        paragraph.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "x" }).collect();
    let prose: String = prose
        .split("](")
        .enumerate()
        .map(|(at, part)| {
            let rest = part.split_once(')').map_or("", |(_, rest)| rest);
            if at == 0 { part.to_owned() } else { format!("]{rest}") }
        })
        .collect();
    let (mut counts, mut count) = (Vec::new(), 0);
    let words: Vec<&str> = prose.split_whitespace().collect();
    for (at, word) in words.iter().enumerate() {
        count += usize::from(word.contains(char::is_alphanumeric));
        let next = words.get(at + 1);
        let begins = |next: &&str| {
            next.starts_with(|c: char| c.is_uppercase() || "[*x(".contains(c)) || NAMES.contains(next)
        };
        if word.ends_with(['.', '!', '?']) && next.is_none_or(begins) || next.is_none() {
            counts.push(std::mem::take(&mut count));
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(name: &str, text: &str) -> Result<Vec<String>> {
        let root = tempfile::tempdir()?;
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(root.path()))?;
        std::fs::write(path, text)?;
        let mut found = Vec::new();
        let text = std::fs::read_to_string(root.path().join(name))?;
        found.extend(
            sentences(&text, name.ends_with(".md")).into_iter().filter(|(_, words)| *words > LONGEST),
        );
        let mut findings = Findings::default();
        compare(
            found.into_iter().map(|(line, words)| (name.to_owned(), line, words)).collect(),
            &[],
            &mut findings,
        );
        Ok(findings.errors)
    }

    #[test]
    fn a_long_sentence_is_found_over_lines() -> Result<()> {
        let long = |words: usize| "word ".repeat(words);
        let page = format!("Short. {}\n{}.\nShort.\n", long(20).replacen('w', "W", 1), long(6));
        assert_eq!(errors("docs/a.md", &page)?, ["docs/a.md:1: a sentence of 26 words, more than 25"]);
        let code = format!("/// {}\n/// {}.\nfn f() {{}}\n", long(20), long(6));
        assert_eq!(errors("crates/a/src/a.rs", &code)?.len(), 1);
        assert_eq!(errors("crates/a/src/a.rs", &code.replace("///", "//"))?.len(), 0, "a comment of code");
        Ok(())
    }

    #[test]
    fn code_tables_and_links_do_not_count() -> Result<()> {
        let long = "word ".repeat(30);
        for page in [
            format!("```\n{long}\n```\n"),
            format!("| {long} |\n"),
            format!("# {long}\n"),
            format!("`{long}` is one.\n"),
            format!("[one]({long}) link.\n"),
            format!("- {}\n- {}\n", &long[..100], &long[..100]),
        ] {
            assert_eq!(errors("docs/a.md", &page)?, [""; 0], "{page}");
        }
        Ok(())
    }

    #[test]
    fn what_is_known_may_only_shrink() {
        let found = || vec![("docs/a.md".to_owned(), 1, 26)];
        for (known, errors) in [(1, 0), (2, 0), (0, 1)] {
            let mut findings = Findings::default();
            compare(found(), &[("docs/", known)], &mut findings);
            assert_eq!(findings.errors.len(), errors, "{known} known");
        }
    }
}
