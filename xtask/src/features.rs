//! Each published crate compiles alone: without features, and with each feature by itself.

use anyhow::Result;
use cargo_metadata::{MetadataCommand, Package};

use crate::cargo::{cargo, root, run};

/// Checks one combination after the other, all of them also when one fails; returns the arguments of those that did.
pub(crate) fn check_alone() -> Result<Vec<String>> {
    let metadata = MetadataCommand::new().current_dir(root()).no_deps().exec()?;
    let published = |package: &&&Package| package.publish.as_deref() != Some(&[]);
    let packages = metadata.workspace_packages();
    let combinations: Vec<_> =
        packages.iter().filter(published).flat_map(|package| combinations(package)).collect();
    let of = combinations.len();
    let mut failed = Vec::new();
    println!();
    for (combination, number) in combinations.iter().zip(1..) {
        let arguments: Vec<&str> = combination.iter().map(String::as_str).collect();
        println!("[{number}/{of}] alone: cargo {}", arguments.join(" "));
        if !run(&mut cargo(&arguments))?.success() {
            failed.push(arguments.join(" "));
        }
    }
    Ok(failed)
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

    /// The names of all that a user of a package alone builds.
    fn built_with(package: &str) -> Result<Vec<String>> {
        let mut tree = cargo(&["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"]);
        let output = tree.args(["--format", "{p}"]).output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let names = String::from_utf8(output.stdout)?;
        Ok(names.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect())
    }

    #[test]
    fn the_core_brings_no_database_and_no_broker() -> Result<()> {
        let built = built_with("omni-box-core")?;
        assert!(built.contains(&"serde".to_owned()), "{built:?}");
        let drivers = ["sqlx", "rdkafka", "prometheus", "opentelemetry"];
        let brought: Vec<_> =
            built.iter().filter(|name| drivers.iter().any(|driver| name.starts_with(driver))).collect();
        assert!(brought.is_empty(), "{brought:?}");
        Ok(())
    }

    #[test]
    fn the_quickstart_needs_no_library_of_the_system() -> Result<()> {
        let built = built_with("quickstart")?;
        assert!(built.contains(&"rdkafka-sys".to_owned()), "{built:?}");
        assert!(!built.contains(&"openssl-sys".to_owned()), "{built:?}");
        Ok(())
    }

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
