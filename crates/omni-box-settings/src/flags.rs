//! What the flags of a program say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::KEYS;
use crate::entry::{Entry, find, of_section};
use crate::key::{Key, Kind};
use crate::keys::SECTIONS;
use crate::nearest::hint;
use crate::origin::{Origin, Problems};
use crate::value::Raw;

/// The flags of a program that say a setting, which have the last word; for [`Settings::load_with`](crate::Settings::load_with).
///
/// - [`config`](Self::config) is the value of a flag `--config`, the file that is read in place of any other.
/// - [`set`](Self::set) is the value of a flag `--set`, which may come several times: `section.key=value`, with the value as the
///   environment would have it. A property of librdkafka is `kafka.properties.linger.ms=5`.
/// - A secret is refused, since a machine's users see each other's flags; the name of its file is taken: `database.url_file=/run/url`.
///
/// ```
/// use std::path::Path;
///
/// use omni_box_settings::{Flags, Settings};
///
/// // #[arg(long)] config: Option<PathBuf>, #[arg(long, value_name = "SECTION.KEY=VALUE")] set: Vec<String>
/// let set = vec!["outbox_processor.batch_size=500".to_owned(), "retry.max=15m".to_owned()];
/// let flags = Flags::new().set_all(set);
/// let variables = [("OMNI_OUTBOX_PROCESSOR__BATCH_SIZE".into(), "100".into())];
/// let settings = Settings::load_from_with(Path::new("."), variables, &flags)?;
/// assert_eq!(settings.relay()?.batch_size, 500);
///
/// let flags = Flags::new().set("outbox_processor.bach_size=500");
/// let refused = Settings::load_from_with(Path::new("."), [], &flags).unwrap_err();
/// assert_eq!(refused.to_string(), "--set outbox_processor.bach_size: did you mean batch_size?");
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "give them to Settings::load_with"]
pub struct Flags {
    config: Option<PathBuf>,
    set: Vec<String>,
}

impl Flags {
    /// No flags.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file that is read, in place of the one that `OMNI_BOX_CONFIG` names. `None` changes nothing.
    pub fn config(self, file: impl Into<Option<PathBuf>>) -> Self {
        Self { config: file.into().or(self.config), ..self }
    }

    /// One setting, `section.key=value`, in place of an earlier one.
    pub fn set(mut self, setting: impl Into<String>) -> Self {
        self.set.push(setting.into());
        self
    }

    /// Several settings.
    pub fn set_all(mut self, settings: impl IntoIterator<Item = String>) -> Self {
        self.set.extend(settings);
        self
    }

    pub(crate) fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The settings among them; what is wrong is told to `problems`.
    pub(crate) fn read(&self, problems: &mut Problems) -> Vec<Entry> {
        let entries = self.set.iter().map(|setting| entry(setting));
        entries.filter_map(|entry| entry.map_err(|problem| problems.add(problem)).ok()).collect()
    }
}

/// Shows which settings are said, and no value.
impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.set.iter().map(|setting| setting.split('=').next().unwrap_or_default());
        f.debug_struct("Flags")
            .field("config", &self.config)
            .field("set", &names.collect::<Vec<_>>())
            .finish()
    }
}

fn entry(setting: &str) -> Result<Entry, String> {
    let Some((path, value)) = setting.split_once('=') else {
        // it may be a secret by mistake
        return Err("a --set has no \"=\", needs section.key=value".to_owned());
    };
    let named = |problem: String| format!("--set {path}: {problem}");
    let (section, name) = path.split_once('.').ok_or_else(|| named("needs section.key".to_owned()))?;
    if !SECTIONS.iter().any(|(known, _)| *known == section) {
        let meant = hint(section, SECTIONS.iter().map(|(section, _)| *section));
        return Err(named(format!("there is no section {section:?}, {meant}")));
    }
    let origin = Origin::Flag(path.to_owned());
    if let Some((key, property)) = property(section, name) {
        let raw = Raw::Table(BTreeMap::from([(property.to_owned(), Raw::Variable(value.to_owned()))]));
        return Ok(Entry { key, is_file: false, raw, origin });
    }
    let (key, is_file) =
        find(section, name).ok_or_else(|| named(hint(name, of_section(section).map(|key| key.name))))?;
    match key.kind {
        Kind::Properties => Err(named(format!("needs a property: {section}.{name}.<property>=value"))),
        _ => match key.file_name() {
            Some(file) if !is_file => Err(named(format!(
                "is a secret, which all users of the machine would see: use {section}.{file}"
            ))),
            _ => Ok(Entry { key, is_file, raw: Raw::Variable(value.to_owned()), origin }),
        },
    }
}

/// The table of properties that a name leads into, and the property's name.
fn property<'a>(section: &str, name: &'a str) -> Option<(&'static Key, &'a str)> {
    let (table, property) = name.split_once('.')?;
    let key = KEYS.iter().find(|key| key.section == section && key.name == table)?;
    (key.kind == Kind::Properties && !property.is_empty()).then_some((key, property))
}
