//! The settings that were read, and how they are looked up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use omni_box_core::Result;

use crate::entry::{Entry, find};
use crate::environment::{CONFIG, DATABASE_URL, Environment};
use crate::file::{read, read_text};
use crate::flags::Flags;
use crate::key::Key;
use crate::origin::{Origin, Problems, misconfigured};
use crate::secret::Secret;
use crate::value::{Raw, Value, parse};

/// The file that is read where `OMNI_BOX_CONFIG` names none.
const FILE: &str = "omni-box.toml";

/// Settings: of each key the flag's value, else the environment's, else the file's, else the default. `Debug` shows which are set, and no value.
///
/// ```
/// use std::path::Path;
///
/// use omni_box_settings::Settings;
///
/// let variables = [("OMNI_OUTBOX_PROCESSOR__BATCH_SIZE".into(), "500".into())];
/// let settings = Settings::read(None, variables)?;
/// assert_eq!(settings.relay()?.batch_size, 500);
///
/// let variables = [("OMNI_OUTBOX_PROCESSOR__LEASE_TTL".into(), "10".into())];
/// let refused = Settings::read(None, variables).unwrap_err();
/// assert!(refused.to_string().starts_with("OMNI_OUTBOX_PROCESSOR__LEASE_TTL is 10, whose unit is missing"));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Settings {
    given: BTreeMap<(&'static str, &'static str), Given>,
    /// `DATABASE_URL`
    fallback: Option<Secret<String>>,
}

/// A value that was given, and where.
#[derive(Clone)]
struct Given {
    value: Content,
    origin: Origin,
    name: String,
}

#[derive(Clone)]
enum Content {
    Value(Value),
    /// The file with the value of a secret.
    File(PathBuf),
}

impl Settings {
    /// Reads the environment of this process and the file that `OMNI_BOX_CONFIG` names, else `./omni-box.toml` if there is one.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when `OMNI_BOX_CONFIG` names a file that is not there.
    pub fn load() -> Result<Self> {
        Self::load_from(Path::new("."), std::env::vars_os())
    }

    /// Does the same with other variables, and a directory for a file that is not named by its full path.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_from(
        directory: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self> {
        Self::load_from_with(directory, variables, &Flags::new())
    }

    /// Does what [`load`](Self::load) does, with flags over all else.
    ///
    /// # Errors
    /// As [`read`](Self::read), and when a file that a flag or `OMNI_BOX_CONFIG` names is not there.
    pub fn load_with(flags: &Flags) -> Result<Self> {
        Self::load_from_with(Path::new("."), std::env::vars_os(), flags)
    }

    /// Does what [`load_from`](Self::load_from) does, with flags over all else.
    ///
    /// # Errors
    /// As [`load_with`](Self::load_with).
    pub fn load_from_with(
        directory: &Path,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Result<Self> {
        let environment = Environment::new(variables);
        let named = || environment.get(CONFIG).map(PathBuf::from);
        let usual = || Some(directory.join(FILE)).filter(|path| path.exists());
        let named = flags.file().map(Path::to_owned).or_else(named);
        let path = named.map(|path| directory.join(path)).or_else(usual);
        Self::from_sources(path.as_deref(), &environment, flags)
    }

    /// Reads a file, if one is given, and variables over it.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured), naming all that is wrong, each with its line or variable. It is so for a
    /// section, key or variable that does not exist, and names the one that was meant. So it is for a value that its key cannot have. So it
    /// is for a secret that is given twice, or whose file cannot be read. A value of a secret is in no message.
    pub fn read(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self> {
        Self::from_sources(file, &Environment::new(variables), &Flags::new())
    }

    fn from_sources(file: Option<&Path>, environment: &Environment, flags: &Flags) -> Result<Self> {
        let mut problems = Problems::default();
        let mut entries = match file {
            Some(path) => read(path, &mut problems)?,
            None => Vec::new(),
        };
        entries.extend(environment.read(&mut problems));
        entries.extend(flags.read(&mut problems));
        let fallback = environment.get(DATABASE_URL);
        if fallback.is_some_and(|url| url.to_str().is_none()) {
            problems.add(format!("{DATABASE_URL} is not UTF-8"));
        }
        let fallback = fallback.and_then(|url| url.to_str());
        let mut settings =
            Self { given: BTreeMap::new(), fallback: fallback.map(|url| Secret::new(url.to_owned())) };
        for entry in entries {
            settings.take(entry).unwrap_or_else(|problem| problems.add(problem));
        }
        for (section, name) in settings.given.keys() {
            if let Err(error) = settings.text(section, name) {
                problems.add(error.to_string());
            }
        }
        problems.finish()?;
        Ok(settings)
    }

    /// Takes an entry in place of an earlier one. Properties are added to earlier ones.
    fn take(&mut self, entry: Entry) -> Result<(), String> {
        let Entry { key, is_file, raw, origin } = entry;
        let suffix = if is_file { "_file" } else { "" };
        let name = origin.of(key.section, &format!("{}{suffix}", key.name));
        let value = parse(key, &raw).map_err(|problem| format!("{name} {problem}"))?;
        let earlier = self.given.get(&(key.section, key.name));
        let value = match (value, earlier.map(|given| &given.value)) {
            (Value::Text(path), _) if is_file => Content::File(path.into()),
            (Value::Properties(mut new), Some(Content::Value(Value::Properties(old)))) => {
                for (name, value) in old {
                    new.entry(name.clone()).or_insert_with(|| value.clone());
                }
                Content::Value(Value::Properties(new))
            }
            (value, _) => Content::Value(value),
        };
        if let Some(earlier) = earlier
            && matches!(earlier.value, Content::File(_)) != is_file
        {
            return Err(format!("{} and {name} are both given, needs one", earlier.name));
        }
        self.given.insert((key.section, key.name), Given { value, origin, name });
        Ok(())
    }

    /// A key's name as its reader finds it again: where it was set, else the key.
    pub(crate) fn name(&self, section: &str, name: &str) -> String {
        let given = self.given.iter().find(|((s, n), _)| (*s, *n) == (section, name));
        given.map_or_else(|| format!("{section}.{name}"), |(_, given)| given.name.clone())
    }

    /// The error of a key that has to be set.
    pub(crate) fn required(section: &str, name: &str) -> omni_box_core::Error {
        let variable = key(section, name).variable();
        misconfigured(format!("{section}.{name} is not set: set it in the file, or {variable}"))
    }

    /// A key's value, or its default.
    fn value(&self, section: &'static str, name: &'static str) -> Option<Value> {
        match self.given.get(&(section, name)).map(|given| &given.value) {
            Some(Content::Value(value)) => Some(value.clone()),
            Some(Content::File(_)) => None,
            None => {
                let key = key(section, name);
                key.default.map(|text| {
                    parse(key, &Raw::Variable(text.to_owned())).expect("a default is one of its key's values")
                })
            }
        }
    }

    /// A text, or that in its file: read now, since secrets are exchanged while programs run.
    pub(crate) fn text(&self, section: &'static str, name: &'static str) -> Result<Option<String>> {
        if let Some(Given { value: Content::File(path), name, .. }) = self.given.get(&(section, name)) {
            let refused = |problem| misconfigured(format!("{name}: {} {problem}", path.display()));
            let text = read_text(path).map_err(refused)?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                return Err(refused("is empty".to_owned()));
            }
            return Ok(Some(text.to_owned()));
        }
        Ok(match self.value(section, name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        })
    }

    pub(crate) fn duration(&self, section: &'static str, name: &'static str) -> Option<Duration> {
        match self.value(section, name) {
            Some(Value::Duration(duration)) => Some(duration),
            _ => None,
        }
    }

    pub(crate) fn number(&self, section: &'static str, name: &'static str) -> Option<u32> {
        match self.value(section, name) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    pub(crate) fn size(&self, section: &'static str, name: &'static str) -> Option<u64> {
        match self.value(section, name) {
            Some(Value::Size(bytes)) => Some(bytes),
            _ => None,
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn list(&self, section: &'static str, name: &'static str) -> Option<Vec<String>> {
        match self.value(section, name) {
            Some(Value::List(items)) => Some(items),
            _ => None,
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn properties(&self, section: &'static str, name: &'static str) -> BTreeMap<String, String> {
        match self.value(section, name) {
            Some(Value::Properties(properties)) => properties,
            _ => BTreeMap::new(),
        }
    }

    /// `DATABASE_URL`, hidden.
    pub(crate) fn fallback(&self) -> Option<&Secret<String>> {
        self.fallback.as_ref()
    }
}

fn key(section: &str, name: &str) -> &'static Key {
    find(section, name).expect("only keys of the table are asked for").0
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set =
            self.given.iter().map(|((section, name), given)| (format!("{section}.{name}"), &given.origin));
        f.debug_map().entries(set.map(|(name, origin)| (name, origin.to_string()))).finish()
    }
}
