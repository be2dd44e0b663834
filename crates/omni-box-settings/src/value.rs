//! What was written, and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::key::{Key, Kind};

/// A value as it was written.
#[derive(Clone)]
pub(crate) enum Raw {
    /// What a variable holds: text that may stand for anything.
    Variable(String),
    Text(String),
    Integer(String),
    List(Vec<Raw>),
    Table(BTreeMap<String, Raw>),
    /// What no setting is, by its name.
    Other(&'static str),
}

/// A value that is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u32),
    Duration(Duration),
    Size(u64),
    List(Vec<String>),
    Properties(BTreeMap<String, String>),
}

const DURATIONS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];
const SIZES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a value of a key.
///
/// # Errors
/// What is wrong, to stand behind the key's name. The value of a secret is not in it.
pub(crate) fn parse(key: &Key, raw: &Raw) -> Result<Value, String> {
    match key.kind {
        Kind::Text => text(raw).map(Value::Text),
        Kind::Number => number(raw).map(Value::Number),
        Kind::Duration => {
            let millis = quantity(raw, DURATIONS, "duration", "10s")?;
            Ok(Value::Duration(Duration::from_millis(millis)))
        }
        Kind::Size => quantity(raw, SIZES, "size", "8MiB").map(Value::Size),
        Kind::Choice(words) => choice(raw, words).map(Value::Text),
        Kind::List => list(raw).map(Value::List),
        Kind::Properties => properties(raw).map(Value::Properties),
    }
}

/// Text that is not empty.
fn text(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Variable(text) | Raw::Text(text) if text.trim().is_empty() => {
            Err("is empty: remove it, or give it a value".to_owned())
        }
        Raw::Variable(text) | Raw::Text(text) => Ok(text.clone()),
        other => Err(format!("is {}, needs a text in quotes", form(other))),
    }
}

fn number(raw: &Raw) -> Result<u32, String> {
    let written = match raw {
        Raw::Variable(text) => text.trim(),
        Raw::Integer(digits) => digits,
        other => return Err(format!("is {}, needs a whole number", form(other))),
    };
    let range = || format!("is {written:?}, needs a whole number, 0 to {}", u32::MAX);
    written.parse().map_err(|_| range())
}

fn choice(raw: &Raw, words: &[&str]) -> Result<String, String> {
    let word = text(raw)?;
    if words.contains(&word.as_str()) {
        return Ok(word);
    }
    Err(format!("is {word:?}, needs one of {}", words.join(", ")))
}

/// A whole number with its unit, in the smallest one.
fn quantity(raw: &Raw, units: &[(&str, u64)], what: &str, example: &str) -> Result<u64, String> {
    let written = match raw {
        Raw::Integer(digits) => digits.clone(),
        raw => text(raw)?.trim().to_owned(),
    };
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    if written.starts_with('-') {
        return Err(format!("is {written:?}: a {what} cannot be negative"));
    }
    let end = written.find(|c: char| !c.is_ascii_digit()).unwrap_or(written.len());
    let (digits, unit) = (&written[..end], written[end..].trim());
    if digits.is_empty() {
        return Err(format!("is {written:?}, needs a whole number and a unit, such as {example}"));
    }
    if unit.is_empty() {
        return Err(format!(
            "is {written}, whose unit is missing: write it as {example}, with one of {names}"
        ));
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("is {written:?}, needs one whole number and one of {names}, such as {example}"));
    };
    let total = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
    total.ok_or_else(|| format!("is {written:?}: that is too large a {what}"))
}

fn list(raw: &Raw) -> Result<Vec<String>, String> {
    let items: Vec<String> = match raw {
        Raw::Variable(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Raw::List(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        other => return Err(format!("is {}, needs a list of texts: [\"..\", \"..\"]", form(other))),
    };
    if items.is_empty() || items.iter().any(|item| item.trim().is_empty()) {
        return Err("has an empty place, needs a text in each and at least one".to_owned());
    }
    Ok(items)
}

/// Their values may be passwords, and are in no message.
fn properties(raw: &Raw) -> Result<BTreeMap<String, String>, String> {
    let Raw::Table(table) = raw else {
        return Err(format!("is {}, needs a table of properties, each with its name in quotes", form(raw)));
    };
    let property = |(name, raw): (&String, &Raw)| match raw {
        Raw::Variable(text) | Raw::Text(text) | Raw::Integer(text) => Ok((name.clone(), text.clone())),
        Raw::Table(_) => Err(format!("holds a table {name:?}: put names with dots in quotes")),
        other => Err(format!("holds {name:?}, which is {}, needs a text in quotes", form(other))),
    };
    table.iter().map(property).collect()
}

/// What a value is, without the value.
fn form(raw: &Raw) -> &'static str {
    match raw {
        Raw::Variable(_) | Raw::Text(_) => "a text",
        Raw::Integer(_) => "a number",
        Raw::List(_) => "a list",
        Raw::Table(_) => "a table",
        Raw::Other(name) => name,
    }
}
