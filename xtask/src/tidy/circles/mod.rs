//! Modules of a crate depend on each other in one direction.
//!
//! A reference is a path that starts with `crate`, `super` or `self`, or a `use`; a re-export counts for the module that it leads to. It
//! joins those two modules below the nearest common one that it crosses. A reference to a module above is none: there stand what its
//! children share and their re-exports. What macros make and what tests need is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Findings, files};

mod reader;

use reader::{Name, names};

/// A module's place in its crate: `["inbox", "group"]`; the crate's own is empty.
type Module = Vec<String>;

/// Circles that may stay: a builder makes its runner, which names its builder. No line is added.
pub(super) const KNOWN: &[Known] =
    &[Known { package: "omni-box-pipeline", modules: &["inbox::builder", "inbox::runner"] }];

/// A line of the list of known circles.
pub(super) struct Known {
    pub(super) package: &'static str,
    pub(super) modules: &'static [&'static str],
}

/// Compares the circles in the `src` of each package with those that are known.
pub(super) fn check(packages: &[(String, PathBuf)], known: &[Known], findings: &mut Findings) -> Result<()> {
    let mut met = BTreeSet::new();
    for (package, source) in packages {
        for circle in circles(source)? {
            let line = known.iter().position(|known| {
                known.package == package
                    && circle.iter().all(|module| known.modules.contains(&module.as_str()))
            });
            match line {
                Some(line) => _ = met.insert(line),
                None => {
                    findings.errors.push(format!("{package}: a circle of modules: {}", circle.join(" - ")));
                }
            }
        }
    }
    for (line, Known { package, modules }) in known.iter().enumerate() {
        if !met.contains(&line) {
            let modules = modules.join(" - ");
            findings
                .errors
                .push(format!("{package}: no circle any more, remove it from the list: {modules}"));
        }
    }
    Ok(())
}

/// The groups of modules in which each reaches every other one.
fn circles(source: &Path) -> Result<Vec<Vec<String>>> {
    let mut modules = BTreeMap::new();
    for file in files(source, &["rs"])? {
        let module = module(file.strip_prefix(source)?);
        modules.insert(module, names(&std::fs::read_to_string(&file)?));
    }
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, names) in &modules {
        for to in names.iter().filter_map(|name| resolve(&modules, from, &name.path, 8)) {
            let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if common < from.len() && common < to.len() {
                let (from, to) = (from[..=common].join("::"), to[..=common].join("::"));
                uses.entry(from).or_default().insert(to);
            }
        }
    }
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        uses.keys().map(|module| (module, reached(&uses, module))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in reached.iter().filter(|(module, others)| others.contains(*module)) {
        let both =
            others.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(module)));
        circles.insert(both.map(|other| (*other).clone()).collect::<Vec<_>>());
    }
    Ok(circles.into_iter().collect())
}

fn reached<'a>(uses: &'a BTreeMap<String, BTreeSet<String>>, from: &String) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&String> = uses.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if found.insert(module) {
            open.extend(uses.get(module).into_iter().flatten());
        }
    }
    found
}

/// The module of a file: `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module(file: &Path) -> Module {
    let mut module: Module =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

/// The module that a path within `from` leads to, through at most `hops` re-exports; `None`: out of the crate.
fn resolve(
    modules: &BTreeMap<Module, Vec<Name>>,
    from: &Module,
    path: &[String],
    hops: u8,
) -> Option<Module> {
    let mut at = from.clone();
    let mut rest = path.iter();
    match path.first()?.as_str() {
        "crate" => {
            at.clear();
            rest.next();
        }
        "self" => _ = rest.next(),
        "super" => {}
        first => {
            let child = [from.as_slice(), &[first.to_owned()]].concat();
            modules.get(&child)?;
        }
    }
    while let Some(part) = rest.next() {
        if part == "super" {
            at.pop()?;
            continue;
        }
        at.push(part.clone());
        if modules.contains_key(&at) {
            continue;
        }
        at.pop();
        let again = modules.get(&at)?.iter().find(|name| name.imported.as_ref() == Some(part));
        let Some(again) = again.filter(|_| hops > 0) else { break };
        let onward: Vec<String> = again.path.iter().chain(rest).cloned().collect();
        return resolve(modules, &at, &onward, hops - 1);
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(sources: &[(&str, &str)], known: &[Known]) -> Result<Vec<String>> {
        let dir = tempfile::tempdir()?;
        for (name, text) in sources {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(dir.path()))?;
            std::fs::write(path, text)?;
        }
        let mut findings = Findings::default();
        check(&[("p".to_owned(), dir.path().to_owned())], known, &mut findings)?;
        Ok(findings.errors)
    }

    #[test]
    fn modules_that_use_each_other_are_found() -> Result<()> {
        for (a, b) in [
            ("use crate::b::B;", "use super::a::A;"),
            ("use crate::{b::{B, C}, x};", "fn f() -> crate::a::A {}"),
            ("pub use super::{\n    b::B,\n};", "use crate::{X, A as Other};"),
            ("// use nothing\nuse crate::B;", "fn f() { super::a::deep::f() }"),
        ] {
            let lib = "mod a;\nmod b;\npub use a::A;\npub use b::{B, C};";
            let sources =
                [("lib.rs", lib), ("a/mod.rs", a), ("a/deep.rs", ""), ("b.rs", b), ("c.rs", "use crate::a;")];
            assert_eq!(errors(&sources, &[])?, ["p: a circle of modules: a - b"], "{a} {b}");
        }
        Ok(())
    }

    #[test]
    fn a_circle_within_a_module_is_found() -> Result<()> {
        let sources = [
            ("lib.rs", ""),
            ("x/mod.rs", "mod a;"),
            ("x/a.rs", "use super::b::B;"),
            ("x/b.rs", "use super::c;"),
            ("x/c/mod.rs", ""),
            ("x/c/inner.rs", "use crate::x::a::A;"),
        ];
        assert_eq!(errors(&sources, &[])?, ["p: a circle of modules: x::a - x::b - x::c"]);
        Ok(())
    }

    #[test]
    fn one_direction_parents_comments_and_tests_are_not() -> Result<()> {
        let a = "use super::Shared;\nuse super::b::B;\n/// [`crate::c`]\nfn f() {}";
        let b = "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}";
        let sources = [
            ("lib.rs", "mod a;\nuse a::A;\nstruct Shared;"),
            ("a.rs", a),
            ("b.rs", b),
            ("c.rs", "use crate::a;"),
        ];
        assert_eq!(errors(&sources, &[])?, [""; 0]);
        Ok(())
    }

    #[test]
    fn a_known_circle_may_shrink_and_then_leaves_the_list() -> Result<()> {
        let known = [Known { package: "p", modules: &["a", "b", "c"] }];
        let circle = [("lib.rs", ""), ("a.rs", "use crate::b;"), ("b.rs", "use crate::a;")];
        assert_eq!(errors(&circle, &known)?, [""; 0]);
        assert_eq!(
            errors(&circle[..2], &known)?,
            ["p: no circle any more, remove it from the list: a - b - c"]
        );
        Ok(())
    }
}
