//! The programs that a newcomer runs first are built from dependencies that the whole workspace's build uses again.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Findings;
use crate::cargo::cargo;

/// What a newcomer runs, and this program.
const PROGRAMS: [&str; 3] = ["quickstart", "router", "xtask"];

/// Built without TLS for a newcomer, who may lack its headers. The workspace's own crates are as quickly built as named.
const APART: [&str; 2] = ["rdkafka", "rdkafka-sys"];

/// Asks cargo for the features of all that the programs and the workspace are built from.
pub(super) fn check(findings: &mut Findings) -> Result<()> {
    let workspace = tree(&["--workspace", "--all-features", "--edges", "normal,build,dev"])?;
    for program in PROGRAMS {
        let own = tree(&["--package", program, "--edges", "normal,build"])?;
        findings.errors.extend(built_twice(program, &features(&own), &features(&workspace)));
    }
    Ok(())
}

fn tree(arguments: &[&str]) -> Result<String> {
    let output = cargo(&["tree", "--prefix", "none", "--format", "{p}|{f}"]).args(arguments).output()?;
    anyhow::ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Each package with the sets of features it is built with: one for programs, maybe another for build scripts and macros.
type Features<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn features(tree: &str) -> Features<'_> {
    let mut features = Features::new();
    for line in tree.lines() {
        let line = line.strip_suffix(" (*)").unwrap_or(line);
        if let Some((package, set)) = line.split_once('|') {
            let package = package.strip_suffix(" (proc-macro)").unwrap_or(package);
            features.entry(package).or_default().insert(set);
        }
    }
    features
}

fn built_twice(program: &str, own: &Features<'_>, workspace: &Features<'_>) -> Vec<String> {
    let none = BTreeSet::new();
    let apart = |package: &str| {
        package.ends_with(')') || APART.iter().any(|name| package.split(' ').next() == Some(name))
    };
    let mut found = Vec::new();
    for (package, sets) in own.iter().filter(|(package, _)| !apart(package)) {
        let shared = workspace.get(package).unwrap_or(&none);
        for set in sets.difference(shared) {
            found.push(format!(
                "{program} builds {package} again: it has the features [{set}], the workspace {shared:?}; name the others in omni-box-features"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "\
app v0.1.0 (/src/app)|
tokio v1.0.0|rt,test-util
syn v2.0.0 (proc-macro)|full
syn v2.0.0|derive (*)
rdkafka v0.39.0|ssl
";

    fn found(own: &str) -> Vec<String> {
        built_twice("app", &features(own), &features(WORKSPACE))
    }

    #[test]
    fn equal_features_are_shared() {
        let own =
            "app v0.1.0 (/src/app)|other\ntokio v1.0.0|rt,test-util (*)\nsyn v2.0.0|full\nrdkafka v0.39.0|\n";
        assert_eq!(found(own), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_named() {
        let own = "tokio v1.0.0|rt\nsyn v2.0.0|derive,full\nlog v0.4.0|\n";
        let found = found(own);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[1].starts_with("app builds syn v2.0.0 again: it has the features [derive,full]"),
            "{found:?}"
        );
    }
}
