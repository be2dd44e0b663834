//! The file: TOML, a table for each section.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use omni_box_core::Error;
use toml::de::{DeTable, DeValue};

use crate::entry::{Entry, find, of_section};
use crate::keys::SECTIONS;
use crate::nearest::hint;
use crate::origin::{Origin, Problems, misconfigured, shared};
use crate::value::Raw;

/// Largest file, in bytes.
const LARGEST: u64 = 1 << 20;

/// Reads a file of settings; what is unknown is told to `problems`.
///
/// # Errors
/// When it cannot be read, or is not TOML.
pub(crate) fn read(path: &Path, problems: &mut Problems) -> Result<Vec<Entry>, Error> {
    let text = read_text(path).map_err(|error| misconfigured(format!("{} {error}", path.display())))?;
    let path = shared(path);
    let origin = |span: Range<usize>| Origin::File { path: path.clone(), line: line(&text, span.start) };
    let document = DeTable::parse(&text).map_err(|error| {
        // its own text quotes the line, and so maybe a secret
        let at = origin(error.span().unwrap_or_default());
        misconfigured(format!("{at}: {}", error.message()))
    })?;
    let mut entries = Vec::new();
    for (section, value) in document.get_ref() {
        let (name, at) = (section.get_ref().as_ref(), origin(section.span()));
        let DeValue::Table(table) = value.get_ref() else {
            problems.add(format!("{at}: {name:?} stands outside of a section; {}", belongs(name)));
            continue;
        };
        if !SECTIONS.iter().any(|(section, _)| *section == name) {
            let meant = hint(name, SECTIONS.iter().map(|(section, _)| *section));
            problems.add(format!("{at}: there is no section {name:?}, {meant}"));
            continue;
        }
        for (key, value) in table {
            let (key, at) = (key.get_ref().as_ref(), origin(key.span()));
            match find(name, key) {
                Some((key, is_file)) => {
                    entries.push(Entry { key, is_file, raw: raw(value.get_ref()), origin: at });
                }
                None => problems.add(format!("{at}: [{name}] has no key {key:?}, {}", meant(name, key))),
            }
        }
    }
    Ok(entries)
}

/// Reads a file whole, without waiting: text, and not too much of it.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {}", error.kind());
    // opening a pipe would wait for its other end
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("has more than {LARGEST} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())
}

/// The key that was meant: one of the same section, or of that name in another.
fn meant(section: &str, name: &str) -> String {
    let elsewhere = SECTIONS.iter().find(|(other, _)| find(other, name).is_some());
    match elsewhere {
        Some((other, _)) => format!("[{other}] has"),
        None => hint(name, of_section(section).map(|key| key.name)),
    }
}

fn belongs(name: &str) -> String {
    match SECTIONS.iter().find(|(section, _)| find(section, name).is_some()) {
        Some((section, _)) => format!("it belongs into [{section}]"),
        None => {
            format!("the sections are {}", SECTIONS.iter().map(|(s, _)| *s).collect::<Vec<_>>().join(", "))
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Raw::Integer(number.as_str().replace('_', "")),
        DeValue::Integer(_) => Raw::Other("a number that is not decimal"),
        DeValue::Float(_) => Raw::Other("a fraction"),
        DeValue::Boolean(_) => Raw::Other("true or false"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(table) => {
            let pairs = table.iter().map(|(key, value)| (key.get_ref().to_string(), raw(value.get_ref())));
            Raw::Table(pairs.collect())
        }
    }
}

/// The number of the line at an offset.
fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}
