//! Each published crate compiles alone: without features, and with each feature by itself.

use std::process::ExitCode;

use anyhow::Result;
use cargo_metadata::{MetadataCommand, Package};

use crate::cargo::{cargo, root, run};

/// Checks one combination after the other, all of them also when one fails.
pub(crate) fn check_alone() -> Result<ExitCode> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    let published = |package: &&&Package| package.publish.as_deref() != Some(&[]);
    let packages = metadata.workspace_packages();
    let mut failed = Vec::new();
    for combination in packages.iter().filter(published).flat_map(|package| combinations(package)) {
        let arguments: Vec<&str> = combination.iter().map(String::as_str).collect();
        if !run(&mut cargo(&arguments))?.success() {
            failed.push(combination.join(" "));
        }
    }
    for arguments in &failed {
        println!("error: does not compile: cargo {arguments}");
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The arguments of cargo, for no feature and for each one.
fn combinations(package: &Package) -> Vec<Vec<String>> {
    let check = ["check", "--quiet", "--package", package.name.as_str(), "--no-default-features"];
    let check: Vec<String> = check.map(str::to_owned).into();
    let single = package.features.keys().filter(|feature| *feature != "default");
    let with = single.map(|feature| [check.as_slice(), &["--features".to_owned(), feature.clone()]].concat());
    std::iter::once(check.clone()).chain(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facade_is_checked_with_none_and_with_each_of_its_features() -> Result<()> {
        let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
        let packages = metadata.workspace_packages();
        let facade = packages.iter().find(|package| package.name == "omni-box").expect("there is a facade");
        let lines: Vec<String> = combinations(facade).iter().map(|arguments| arguments.join(" ")).collect();
        let check = "check --quiet --package omni-box --no-default-features";
        assert_eq!(lines[0], check);
        for feature in ["kafka", "postgres"] {
            assert!(lines.contains(&format!("{check} --features {feature}")), "{lines:?}");
        }
        Ok(())
    }
}
