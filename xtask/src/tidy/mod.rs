//! `cargo xtask tidy`: what the compiler does not check about the workspace as a whole.

mod book;
mod circles;
mod dependencies;
mod examples;
mod length;
mod logs;
mod modules;
mod package;
mod parity;
mod sentences;
mod sharing;
mod sql;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use cargo_metadata::{CargoOpt, Metadata, MetadataCommand};

use crate::cargo::{cargo, root};
use crate::{readme, settings};

/// What a check found; only errors fail the run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

/// Runs every check and prints what they found.
pub(crate) fn run_checks() -> Result<ExitCode> {
    let metadata = MetadataCommand::new().current_dir(root()).features(CargoOpt::AllFeatures).exec()?;
    let mut findings = Findings::default();
    dependencies::check(&metadata, &mut findings);
    sql::check(&root(), &published_sources(&metadata), &mut findings)?;
    for database in ["postgres", "sqlite"] {
        let packaged = packaged(&format!("omni-box-{database}"))?;
        package::check(&root().join("migrations").join(database), &packaged, &mut findings)?;
    }
    length::check(&root(), &mut findings)?;
    logs::check(&root(), &published_sources(&metadata), &mut findings)?;
    modules::check(&root(), &mut findings)?;
    circles::check(&crates(&metadata), circles::KNOWN, &mut findings)?;
    sharing::check(&mut findings)?;
    parity::check(&root(), &mut findings)?;
    book::check(&root(), &mut findings)?;
    words::check(&root(), &mut findings)?;
    sentences::check(&root(), &mut findings)?;
    examples::check(&root(), &mut findings)?;
    for (path, _) in readme::stale(&metadata)? {
        let path = shown(&path, &root());
        findings
            .errors
            .push(format!("{path}: differs from its crate's documentation, run `cargo xtask readme`"));
    }
    if let Some(path) = settings::stale() {
        let path = shown(&path, &root());
        findings
            .errors
            .push(format!("{path}: differs from the table of settings, run `cargo xtask settings`"));
    }

    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for error in &findings.errors {
        println!("error: {error}");
    }
    println!("tidy: {} errors, {} warnings", findings.errors.len(), findings.warnings.len());
    Ok(if findings.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The `src` folders of the crates that others may get.
fn published_sources(metadata: &Metadata) -> Vec<PathBuf> {
    let published = |package: &&cargo_metadata::Package| package.publish.as_deref() != Some(&[]);
    let source = |package: &cargo_metadata::Package| {
        package.manifest_path.parent().map(|dir| dir.join("src").into_std_path_buf())
    };
    metadata.workspace_packages().into_iter().filter(published).filter_map(source).collect()
}

/// All crates, each with its `src` folder.
fn crates(metadata: &Metadata) -> Vec<(String, PathBuf)> {
    let crates = metadata.workspace_packages().into_iter().filter_map(|package| {
        let source = package.manifest_path.parent()?.join("src").into_std_path_buf();
        Some((package.name.to_string(), source))
    });
    crates.collect()
}

fn packaged(package: &str) -> Result<String> {
    let output = cargo(&["package", "--package", package, "--list", "--allow-dirty"]).output()?;
    anyhow::ensure!(
        output.status.success(),
        "cargo package --list: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// All files below `dir` with one of the endings, links not followed.
pub(crate) fn files(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name();
            if kind.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                open.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|end| endings.iter().any(|e| end == *e))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path as a reader of the findings wants it.
pub(crate) fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
