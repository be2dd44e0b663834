//! Builds what `cargo test` would run, and names it.

use std::io::BufReader;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use cargo_metadata::{Artifact, Message};

use super::run::Job;
use crate::cargo::cargo;

/// Options of `cargo test` that select targets; it then runs no doctests.
const TARGETS: [&str; 6] = ["--all-targets", "--bench", "--bin", "--example", "--lib", "--test"];
/// Options of `cargo test` whose value may be the next argument.
const WITH_VALUE: [&str; 15] = [
    "--bench",
    "--bin",
    "--color",
    "--config",
    "--example",
    "--exclude",
    "--features",
    "--jobs",
    "--package",
    "--profile",
    "--target",
    "--test",
    "-F",
    "-j",
    "-p",
];

/// The programs of `cargo test` with these arguments, the doctests last; `None`: something does not compile, as cargo has said.
pub(super) fn build(selection: &[&str], arguments: &[String]) -> Result<Option<Vec<Job>>> {
    let Arguments { of_cargo, of_tests } = split(arguments);
    let mut building = cargo(selection)
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .args(&of_cargo)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let stdout = building.stdout.take().context("cargo has no standard output")?;
    let mut jobs = Vec::new();
    let mut documented = false;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let Message::CompilerArtifact(artifact) = message.context("cargo's messages cannot be read")? else {
            continue;
        };
        if artifact.profile.test {
            documented |= artifact.target.doctest;
            jobs.extend(program(artifact, &of_tests)?);
        }
    }
    jobs.sort_by(|a, b| a.name.cmp(&b.name));
    if documented
        && !of_cargo.iter().any(|argument| TARGETS.iter().any(|target| argument.starts_with(target)))
    {
        let mut command = cargo(selection);
        command.args(["--doc", "--no-fail-fast"]).args(&of_cargo).arg("--").args(&of_tests);
        jobs.push(Job { name: "doctests".to_owned(), command });
    }
    Ok(building.wait()?.success().then_some(jobs))
}

/// A program of tests as cargo would start it.
fn program(artifact: Artifact, arguments: &[&str]) -> Result<Option<Job>> {
    let Some(executable) = artifact.executable else { return Ok(None) };
    let directory = artifact.manifest_path.parent().context("a manifest in no directory")?;
    // a package is called as its directory
    let package = directory.file_name().context("a package in no directory")?;
    let mut command = Command::new(PathBuf::from(executable));
    command.current_dir(directory).env("CARGO_PKG_NAME", package).env("CARGO_MANIFEST_DIR", directory);
    command.args(arguments);
    Ok(Some(Job { name: format!("{package} {}", artifact.target.name), command }))
}

#[derive(Debug, PartialEq, Eq)]
struct Arguments<'a> {
    of_cargo: Vec<&'a str>,
    /// The filter, which `cargo test` takes among its own arguments, and what follows `--`.
    of_tests: Vec<&'a str>,
}

fn split(arguments: &[String]) -> Arguments<'_> {
    let mut split = Arguments { of_cargo: Vec::new(), of_tests: Vec::new() };
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            "--" => split.of_tests.extend(rest.by_ref()),
            option if option.starts_with('-') => {
                split.of_cargo.push(option);
                if WITH_VALUE.contains(&option) {
                    split.of_cargo.extend(rest.next());
                }
            }
            filter => split.of_tests.push(filter),
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_an_argument_of_the_tests() {
        let split_words = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let Arguments { of_cargo, of_tests } = split(&words);
            (of_cargo.join(" "), of_tests.join(" "))
        };
        let pair = |cargo: &str, tests: &str| (cargo.to_owned(), tests.to_owned());
        assert_eq!(split_words("-p a consume"), pair("-p a", "consume"));
        assert_eq!(split_words("consume --package=a --lib"), pair("--package=a --lib", "consume"));
        assert_eq!(split_words("--test it -- --nocapture b"), pair("--test it", "--nocapture b"));
    }
}
