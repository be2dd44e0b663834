//! Lines on the screen, in colour where that is a terminal that wants it.

use anstream::{eprintln, println};
use anstyle::{AnsiColor, Style};

const TITLE: Style = Style::new().bold();
const STEP: Style = AnsiColor::Green.on_default().bold();
const DETAIL: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();

pub(crate) fn title(name: &str, text: &str) {
    println!("{TITLE}{name}{TITLE:#}: {text}");
}

/// What was done and has been checked.
pub(crate) fn step(number: u32, name: &str, text: &str) {
    println!("{STEP}{number} {name:<12}{STEP:#} {text}");
}

/// What it looks like.
pub(crate) fn detail(text: &str) {
    println!("               {DETAIL}{text}{DETAIL:#}");
}

pub(crate) fn note(text: &str) {
    println!("{text}");
}

/// The error and its causes in one line. A cause that the text before it ends with is not repeated.
pub(crate) fn error(error: &anyhow::Error) {
    let text = error
        .chain()
        .map(ToString::to_string)
        .reduce(|text, cause| if text.ends_with(&cause) { text } else { format!("{text}: {cause}") });
    eprintln!("{ERROR}error{ERROR:#}: {}", text.unwrap_or_default());
}
