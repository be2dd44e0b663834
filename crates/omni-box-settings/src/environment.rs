//! The environment: `OMNI_<SECTION>__<KEY>`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::KEYS;
use crate::entry::{Entry, find, of_section};
use crate::key::{Key, Kind};
use crate::keys::SECTIONS;
use crate::nearest::{hint, nearest};
use crate::origin::{Origin, Problems};
use crate::value::Raw;

/// The variable that names the file.
pub(crate) const CONFIG: &str = "OMNI_BOX_CONFIG";
/// The variable that is read where `database.url` is not set.
pub(crate) const DATABASE_URL: &str = "DATABASE_URL";
const PREFIX: &str = "OMNI_";

/// The variables of a process.
pub(crate) struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Takes variables. A name that is not UTF-8 belongs to others.
    pub(crate) fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.collect())
    }

    /// A variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&OsString> {
        self.0.get(name).filter(|value| !value.is_empty())
    }

    /// The settings among the variables; what looks like one and is none is told to `problems`.
    pub(crate) fn read(&self, problems: &mut Problems) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut properties: BTreeMap<String, (Entry, BTreeMap<String, Raw>)> = BTreeMap::new();
        let names = names();
        for (variable, value) in &self.0 {
            let Some((key, is_file, property)) = setting(variable) else {
                if let Some(problem) = mistaken(variable, &names) {
                    problems.add(problem);
                }
                continue;
            };
            let Some(text) = value.to_str() else {
                problems.add(format!("{variable} is not UTF-8"));
                continue;
            };
            let raw = Raw::Variable(text.to_owned());
            let origin = Origin::Environment(variable.clone());
            match property {
                None => entries.push(Entry { key, is_file, raw, origin }),
                Some(property) => {
                    let origin = Origin::Environment(format!("{}__..", key.variable()));
                    let entry = Entry { key, is_file: false, raw: Raw::Table(BTreeMap::new()), origin };
                    properties
                        .entry(key.variable())
                        .or_insert((entry, BTreeMap::new()))
                        .1
                        .insert(property, raw);
                }
            }
        }
        entries
            .extend(properties.into_values().map(|(entry, table)| Entry { raw: Raw::Table(table), ..entry }));
        entries
    }
}

/// The key that a variable sets, whether it names the file of its value, and the property that it sets.
fn setting(variable: &str) -> Option<(&'static Key, bool, Option<String>)> {
    let (section, name) = variable.strip_prefix(PREFIX)?.split_once("__")?;
    if variable.contains(|c: char| c.is_ascii_lowercase()) {
        return None;
    }
    let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
    match name.split_once("__") {
        Some((name, property)) if !property.is_empty() => find(&section, name)
            .filter(|(key, _)| key.kind == Kind::Properties)
            .map(|(key, _)| (key, false, Some(property.replace('_', ".")))),
        _ => find(&section, &name)
            .filter(|(key, _)| key.kind != Kind::Properties)
            .map(|(key, is_file)| (key, is_file, None)),
    }
}

/// Every name of a variable that is read.
fn names() -> Vec<String> {
    let variables = KEYS.iter().flat_map(|key| {
        let file = key.file_name().map(|_| format!("{}_FILE", key.variable()));
        std::iter::once(key.variable()).chain(file)
    });
    variables.chain([CONFIG.to_owned()]).collect()
}

/// Why a variable that sets nothing was meant to, if it was. It has the form of one, or nearly the name of one that does.
fn mistaken(variable: &str, names: &[String]) -> Option<String> {
    if [CONFIG, DATABASE_URL].contains(&variable) {
        return None;
    }
    let candidates = || names.iter().map(String::as_str);
    let upper = variable.to_ascii_uppercase();
    let bare = |name: &str| name.replace('_', "");
    let meant = candidates()
        .find(|name| bare(name) == bare(&upper) || strsim::damerau_levenshtein(name, &upper) <= 1);
    if let Some(meant) = meant {
        return Some(format!("{variable} is not a setting, did you mean {}?", whole(meant)));
    }
    let (section, name) = upper.strip_prefix(PREFIX)?.split_once("__")?;
    let section = section.to_ascii_lowercase();
    let name = name.split("__").next().unwrap_or_default().to_ascii_lowercase();
    let keys = || of_section(&section).map(|key| key.name);
    let near = match nearest(&name, keys()) {
        Some(meant) => {
            format!("did you mean {}?", whole(&format!("{PREFIX}{section}__{meant}").to_ascii_uppercase()))
        }
        None if keys().next().is_some() => hint(&name, keys().collect::<Vec<_>>()),
        None => {
            let sections =
                SECTIONS.iter().map(|(section, _)| format!("{PREFIX}{}__", section.to_ascii_uppercase()));
            format!("the sections are {}", sections.collect::<Vec<_>>().join(", "))
        }
    };
    Some(format!("{variable} is not a setting, {near}"))
}

/// A name as it is to be written: a table of properties takes the property too.
fn whole(name: &str) -> String {
    let is_table = KEYS.iter().any(|key| key.kind == Kind::Properties && key.variable() == name);
    if is_table { format!("{name}__<PROPERTY>") } else { name.to_owned() }
}
