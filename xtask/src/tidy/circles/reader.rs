//! The paths in a source file.

/// A path that the file names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) path: Vec<String>,
    /// What a `use` calls it.
    pub(super) imported: Option<String>,
}

/// All paths of `use` and all others that start with `crate`, `super` or `self`; those of comments and of tests passed over.
pub(super) fn names(code: &str) -> Vec<Name> {
    let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines: Vec<&str> =
        code.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect();
    let tokens = tokens(&lines.join("\n"));
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let is_use = token == "use";
        let start = at + usize::from(is_use);
        let is_path = ["crate", "super", "self"].contains(&token.as_str())
            && tokens.get(at + 1).is_some_and(|next| next == "::");
        at = if is_use || is_path { tree(&tokens, start, &[], is_use, &mut found) } else { at + 1 };
    }
    found
}

/// Words and `::`, and every other character alone.
fn tokens(code: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut word = false;
    for char in code.chars() {
        let part = char.is_alphanumeric() || char == '_';
        match tokens.last_mut() {
            Some(last) if (part && word) || (char == ':' && last == ":") => last.push(char),
            _ if char.is_whitespace() => {}
            _ => tokens.push(char.to_string()),
        }
        word = part;
    }
    tokens
}

/// Reads a path, or the tree of a `use`, from a token on; returns where it ends.
fn tree(tokens: &[String], start: usize, before: &[String], is_use: bool, found: &mut Vec<Name>) -> usize {
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    let mut path = before.to_vec();
    let mut at = start;
    loop {
        if token(at) == "{" {
            at += 1;
            while !["}", ""].contains(&token(at)) {
                let end = tree(tokens, at, &path, is_use, found);
                at = end.max(at + 1) + usize::from(token(end.max(at + 1)) == ",");
            }
            return at + 1;
        }
        if !token(at).starts_with(|first: char| first.is_alphabetic() || first == '_') {
            break;
        }
        // `a::{self}` is `a`
        if token(at) != "self" || path.is_empty() {
            path.push(token(at).to_owned());
        }
        at += 1;
        if token(at) != "::" || (!is_use && token(at + 1) == "{") {
            break;
        }
        at += 1;
    }
    let mut imported = path.last().cloned().filter(|_| is_use);
    if token(at) == "as" {
        imported = imported.map(|_| token(at + 1).to_owned());
        at += 2;
    }
    if path.len() > before.len() || at > start {
        found.push(Name { path, imported });
    }
    at.max(start)
}
