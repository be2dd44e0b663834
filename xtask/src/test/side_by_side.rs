//! Runs the test binaries of a workspace side by side, which `cargo test` runs one after the other.

use std::io::{BufReader, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use cargo_metadata::Message;

use crate::cargo::cargo;

/// Options of `cargo test` that select targets; it then runs no doctests.
const TARGETS: [&str; 6] = ["--all-targets", "--bench", "--bin", "--example", "--lib", "--test"];

/// Something that `cargo test` would run.
struct Job {
    name: String,
    command: Command,
}

/// Builds and runs what `cargo test` with these arguments runs, all of it also after a failure; what a binary prints comes when it has ended.
pub(super) fn run(
    selection: &[&str],
    arguments: &[String],
    prepare: impl Fn(&mut Command),
) -> Result<ExitCode> {
    let at = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (of_cargo, of_tests) = arguments.split_at(at);
    let Some(binaries) = build(selection, of_cargo)? else { return Ok(ExitCode::FAILURE) };
    let mut jobs = Vec::new();
    if !of_cargo.iter().any(|argument| TARGETS.iter().any(|target| argument.starts_with(target))) {
        let mut command = cargo(selection);
        command.arg("--doc").args(of_cargo).args(of_tests);
        jobs.push(Job { name: "doctests".to_owned(), command });
    }
    for (name, mut command) in binaries {
        command.args(of_tests.iter().skip(1));
        jobs.push(Job { name, command });
    }
    jobs.iter_mut().for_each(|job| prepare(&mut job.command));
    let failed = run_jobs(jobs)?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nFAILED: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The binaries, as cargo would start them; `None`: something does not compile, as cargo has said.
fn build(selection: &[&str], arguments: &[String]) -> Result<Option<Vec<(String, Command)>>> {
    let mut building = cargo(selection)
        .args(["--no-run", "--message-format=json-render-diagnostics"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let stdout = building.stdout.take().context("cargo has no standard output")?;
    let mut binaries = Vec::new();
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let Message::CompilerArtifact(artifact) = message.context("cargo's messages cannot be read")? else {
            continue;
        };
        let Some(executable) = artifact.executable.filter(|_| artifact.profile.test) else { continue };
        let directory = artifact.manifest_path.parent().context("a manifest in no directory")?;
        // a package is called as its directory
        let package = directory.file_name().context("a package in no directory")?;
        let mut command = Command::new(PathBuf::from(executable));
        command.current_dir(directory).env("CARGO_PKG_NAME", package).env("CARGO_MANIFEST_DIR", directory);
        binaries.push((format!("{package} {}", artifact.target.name), command));
    }
    Ok(building.wait()?.success().then_some(binaries))
}

/// Runs one more than there are processors at a time, as some mostly wait. Returns the names of those that failed.
fn run_jobs(jobs: Vec<Job>) -> Result<Vec<String>> {
    let workers = std::thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let waiting = Mutex::new(jobs.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut failed = Vec::new();
        while let Some(Job { name, mut command }) = next() {
            let ended = command.output().with_context(|| format!("cannot run {name}"))?;
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "\n     Running {name}")?;
            stdout.write_all(&ended.stdout)?;
            stdout.write_all(&ended.stderr)?;
            if !ended.status.success() {
                failed.push(name);
            }
        }
        Ok(failed)
    };
    let outcomes: Vec<Result<Vec<String>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|joined| joined.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker panicked")))).collect()
    });
    Ok(outcomes.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_named_and_everything_else_runs() {
        let job = |name: &str, program: &str| Job { name: name.to_owned(), command: Command::new(program) };
        let failed = run_jobs(vec![job("a", "true"), job("b", "false"), job("c", "true"), job("d", "false")]);
        let mut failed = failed.expect("both programs can be run");
        failed.sort();
        assert_eq!(failed, ["b", "d"]);
        assert!(run_jobs(vec![job("a", "no-such-program")]).is_err());
    }
}
