//! What a setting is.

/// A setting: `[section] name` of the file, `OMNI_<SECTION>__<NAME>` of the environment.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Key {
    /// The table of the file.
    pub section: &'static str,
    /// The key in that table.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The value that it has unless set, as the environment would give it. `None`: it is not set, and `doc` says what that means.
    pub default: Option<&'static str>,
    /// What it does, in a sentence.
    pub doc: &'static str,
    /// Whether its value is hidden. A secret text may also stand in a file of its own, which `<name>_file` names.
    pub secret: bool,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Text that is not empty.
    Text,
    /// A whole number, 0 to 4,294,967,295.
    Number,
    /// A whole number with a unit: `ms`, `s`, `m`, `h` or `d`.
    Duration,
    /// A whole number with a unit: `B`, `KiB`, `MiB`, `GiB` or `TiB`.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts: an array in the file, separated by commas in the environment.
    List,
    /// Properties of librdkafka: a table in the file, `OMNI_<SECTION>__<NAME>__<PROPERTY>` in the environment with `_` for each dot.
    Properties,
}

impl Key {
    pub(crate) const fn new(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { section, name, kind, default: Some(default), doc, secret: false }
    }

    pub(crate) const fn unset(
        section: &'static str,
        name: &'static str,
        kind: Kind,
        doc: &'static str,
    ) -> Self {
        Self { section, name, kind, default: None, doc, secret: false }
    }

    pub(crate) const fn hidden(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Its name in the environment.
    ///
    /// ```
    /// let key = omni_box_settings::KEYS.iter().find(|key| key.name == "batch_size").unwrap();
    /// assert_eq!(key.variable(), "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE");
    /// ```
    pub fn variable(&self) -> String {
        format!("OMNI_{}__{}", self.section, self.name).to_ascii_uppercase()
    }

    /// The key that names a file with the value, of a secret text.
    pub fn file_name(&self) -> Option<String> {
        (self.secret && self.kind == Kind::Text).then(|| format!("{}_file", self.name))
    }
}
