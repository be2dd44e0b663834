//! `cargo xtask book`: the pages of `docs`, and those that they link to, as a book below the build's folder.

mod pages;
mod rendered;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::cargo::{cargo, root, run};

/// The version of mdBook that is installed where there is none.
const MDBOOK: &str = "0.5.4";

/// Builds the book, and checks that each of its links leads to a part of a page.
pub(crate) fn build() -> Result<ExitCode> {
    let book = folder("book");
    pages::write(&root(), &book.join("src"))?;
    let settings = root().join("book.toml");
    std::fs::copy(&settings, book.join("book.toml")).with_context(|| format!("{}", settings.display()))?;
    let status = run(Command::new(mdbook()?).arg("build").current_dir(&book))?;
    anyhow::ensure!(status.success(), "mdbook ended with {status}");
    let html = book.join("html");
    let dead = rendered::dead_links(&html)?;
    for link in &dead {
        println!("error: {link}");
    }
    println!("{}", html.join("index.html").display());
    Ok(if dead.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The program, which is compiled if it is not there yet.
fn mdbook() -> Result<PathBuf> {
    let tools = folder("tools");
    let program = tools.join("bin/mdbook");
    if !program.exists() {
        println!("installs mdbook {MDBOOK} into {}: some minutes, once", tools.display());
        let mut install =
            cargo(&["install", "--quiet", "--debug", "--locked", "mdbook", "--version", MDBOOK]);
        install.args(["--no-default-features", "--features", "search", "--root"]).arg(&tools);
        let status = run(&mut install)?;
        anyhow::ensure!(status.success(), "cargo install mdbook ended with {status}");
    }
    Ok(program)
}

fn folder(name: &str) -> PathBuf {
    omni_box_harness::services::default_dir().with_file_name(name)
}
