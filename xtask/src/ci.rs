//! `cargo xtask ci`: all that a change must pass, step by step.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cargo::{cargo, run};
use crate::{book, test, tidy};

const INSTALL_DENY: &str = "cargo-deny is missing: cargo install --locked cargo-deny";

struct Report {
    step: &'static str,
    took: Duration,
    outcome: Result<()>,
}

/// Runs every step, also after one has failed, and closes with a summary.
pub(crate) async fn run_steps() -> Result<ExitCode> {
    let mut reports = Vec::new();
    step(&mut reports, "fmt", async { checked(&["fmt", "--all", "--check"], &[]) }).await;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    step(&mut reports, "clippy", async { checked(&clippy, &[]) }).await;
    step(&mut reports, "tidy", async { succeeded(tidy::run_checks()?) }).await;
    let doc = ["doc", "--workspace", "--no-deps", "--all-features"];
    step(&mut reports, "doc", async { checked(&doc, &[("RUSTDOCFLAGS", "-D warnings")]) }).await;
    step(&mut reports, "book", async { succeeded(book::build()?) }).await;
    step(&mut reports, "deny", async { deny() }).await;
    step(&mut reports, "test", async { succeeded(test::run_tests(test::Command::all()).await?) }).await;

    println!("\nsummary");
    for Report { step, took, outcome } in &reports {
        let verdict = outcome.as_ref().map_or_else(|error| format!("FAILED: {error:#}"), |()| "ok".into());
        println!("{step:>8} {:>7.1} s  {verdict}", took.as_secs_f64());
    }
    let passed = reports.iter().all(|report| report.outcome.is_ok());
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn step(reports: &mut Vec<Report>, step: &'static str, work: impl Future<Output = Result<()>>) {
    println!("\n== {step}");
    let start = Instant::now();
    let outcome = work.await;
    reports.push(Report { step, took: start.elapsed(), outcome });
}

fn checked(arguments: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let status = run(cargo(arguments).envs(env.iter().copied()))?;
    anyhow::ensure!(status.success(), "cargo {} ended with {status}", arguments[0]);
    Ok(())
}

fn succeeded(code: ExitCode) -> Result<()> {
    anyhow::ensure!(code == ExitCode::SUCCESS, "see above");
    Ok(())
}

fn deny() -> Result<()> {
    let installed = cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        bail!(INSTALL_DENY);
    }
    checked(&["deny", "--all-features", "check", "bans", "licenses", "sources"], &[])
}
