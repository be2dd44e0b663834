//! Links and headings of a page in Markdown.

/// A link to another file, or to a part of the same one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    /// What a reader sees.
    pub(crate) text: &'a str,
    /// The other file's path, as the page has it; empty for the same one.
    pub(crate) file: &'a str,
    /// The part of the file.
    pub(crate) anchor: Option<&'a str>,
}

/// All links of a page that lead to files.
pub(crate) fn links(page: &str) -> Vec<Link<'_>> {
    let lines = outside_of_code(page).into_iter().filter(|(_, is_code)| !is_code);
    lines.flat_map(|(line, _)| Parts(line)).filter_map(|part| part.link).collect()
}

/// The page with another text for each of its links that leads to a file.
pub(crate) fn relinked(page: &str, mut link: impl FnMut(&Link<'_>) -> String) -> String {
    let mut text = String::new();
    for (line, is_code) in outside_of_code(page) {
        if is_code {
            text += line;
            continue;
        }
        for part in Parts(line) {
            text += part.before;
            text += &part.link.map_or_else(String::new, |found| link(&found));
        }
    }
    text
}

/// What headings of a page are called in links: the name that mdBook and GitHub make of their text.
pub(crate) fn anchors(page: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for (line, is_code) in outside_of_code(page) {
        let heading = line.trim_start_matches('#');
        if is_code || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let plain = relinked(heading.trim(), |link| link.text.to_owned());
        let first: String = plain.chars().filter_map(in_anchor).collect();
        let mut anchor = first.clone();
        for repeated in 1.. {
            if !anchors.contains(&anchor) {
                break;
            }
            anchor = format!("{first}-{repeated}");
        }
        anchors.push(anchor);
    }
    anchors
}

fn in_anchor(char: char) -> Option<char> {
    match char {
        ' ' => Some('-'),
        '-' | '_' => Some(char),
        _ => char.is_alphanumeric().then(|| char.to_ascii_lowercase()),
    }
}

/// Lines with their ends, each with whether it belongs to a block of code.
fn outside_of_code(page: &str) -> Vec<(&str, bool)> {
    let mut in_code = false;
    let lines = page.split_inclusive('\n').map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (line, in_code || is_fence)
    });
    lines.collect()
}

/// A line cut behind each of its links to files.
struct Parts<'a>(&'a str);

struct Part<'a> {
    before: &'a str,
    link: Option<Link<'a>>,
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (mut from, line) = (0, self.0);
        while let Some(middle) = line[from..].find("](").map(|at| from + at) {
            let Some(end) = line[middle..].find(')').map(|at| middle + at) else { break };
            let target = &line[middle + 2..end];
            from = end;
            let Some(open) = line[..middle].rfind('[').filter(|_| !target.contains("://")) else { continue };
            let (file, anchor) =
                target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
            self.0 = &line[end + 1..];
            let link = Link { text: &line[open + 1..middle], file, anchor };
            return Some(Part { before: &line[..open], link: Some(link) });
        }
        self.0 = "";
        Some(Part { before: line, link: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A `first` part: x_y\n[b](b.md#part), [web](https://a.b/c.md), [`c`](../c)\n```\n[code](no.md)\n# no\n```\n\
        see [here](#part).\n## [b](b.md)\n## B\n#none\n";

    #[test]
    fn links_are_those_to_files_outside_of_code() {
        let found: Vec<_> = links(PAGE).into_iter().map(|link| (link.text, link.file, link.anchor)).collect();
        let expected = [
            ("b", "b.md", Some("part")),
            ("`c`", "../c", None),
            ("here", "", Some("part")),
            ("b", "b.md", None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn all_but_the_links_stays() {
        let page = relinked(PAGE, |link| format!("[{}]({})", link.text, link.file));
        assert_eq!(page, PAGE.replace("#part)", ")"));
        assert_eq!(relinked("a [b](c) ](d) [e", |_| "x".to_owned()), "a x ](d) [e");
    }

    #[test]
    fn headings_have_the_names_that_readers_link_to() {
        assert_eq!(anchors(PAGE), ["a-first-part-x_y", "b", "b-1"]);
    }
}
