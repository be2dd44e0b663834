//! What no log may say: texts that stand for payloads, keys, values of headers and passwords.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Every such text has one of these in it: `canary-in-the-payload`, `canary-in-the-key`, `bob-secret`.
const MARKS: [&str; 2] = ["canary-in-the-", "-secret"];

/// Ends the process, as a failed test would, if a line that was logged has such a text. It shows where the line is from, and not the text.
#[expect(clippy::exit, reason = "a panic in a subscriber would be caught")]
pub(crate) fn check(line: &str, origin: impl std::fmt::Display) {
    if let Some(mark) = found(line) {
        let text =
            format!("\n{origin} has logged a payload, a key, a header's value or a password ({mark}..)\n");
        // not captured by the test's output, which is lost with the process
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
        std::process::exit(101);
    }
}

/// The same for what a program has written to a file from an offset.
pub(crate) fn check_file(path: &Path, from: u64) {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(from))?;
        std::io::copy(&mut file, &mut bytes)
    });
    if read.is_ok() {
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            check(line, format_args!("{}, line {} after byte {from},", path.display(), number + 1));
        }
    }
}

fn found(text: &str) -> Option<&'static str> {
    MARKS.into_iter().find(|mark| text.contains(mark))
}
