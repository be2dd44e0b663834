//! Migrations: each applied once, in order, and written down in a ledger of its own.

use std::fmt::Write as _;

use omni_box_core::Result;
use sha2::{Digest, Sha256};

use crate::table::misconfigured;
use crate::{Dialect, SchemaDifference, Table, render};

/// A step from one version of the schema to the next. Never edited once released.
#[derive(Debug)]
pub struct Migration {
    /// The version it leads to; greater than that of the one before it.
    pub version: i64,
    /// What it is for, in a word without quotes.
    pub name: &'static str,
    /// Its statements, each closed by a semicolon; see [`render`].
    pub template: &'static str,
    /// The oldest version whose programs work with the schema it leads to: its own, unless it only adds what they do without. They go on, and
    /// may be started, while programs are replaced one by one.
    pub oldest: i64,
}

/// A migration as the ledger has it: `version`, `checksum` and `oldest`. Without an `oldest` only programs of its version work with the schema.
pub type Applied = (i64, String, Option<i64>);

impl Migration {
    /// SHA-256 of the template, in hexadecimal: it does not depend on the configured names.
    pub fn checksum(&self) -> String {
        Sha256::digest(self.template.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }

    /// Its statements, and the one that writes it down in the ledger. They belong in one transaction, where the database can do that.
    pub fn sql(&self, dialect: &(impl Dialect + ?Sized)) -> String {
        let Self { version, name, template, oldest } = self;
        let (ledger, checksum) = (dialect.qualified(Table::Migrations), self.checksum());
        let mut sql = render(dialect, template);
        let _ = writeln!(
            sql,
            "insert into {ledger} (version, name, checksum, oldest) values ({version}, '{name}', '{checksum}', {oldest});"
        );
        sql
    }

    fn checksum_in<'a>(&self, applied: &'a [Applied]) -> Option<&'a str> {
        applied
            .iter()
            .find(|(version, ..)| *version == self.version)
            .map(|(_, checksum, _)| checksum.as_str())
    }
}

/// A migration as text, for those who apply it by other means: sqlx's migrator, Flyway, an administrator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationSql {
    /// The version it leads to.
    pub version: i64,
    /// What it is for, in a word.
    pub name: &'static str,
    /// Its statements, without transaction control; they belong in one transaction. The last one writes it down in the ledger, so that
    /// `migrate` finds it done.
    pub sql: String,
}

/// All that a store knows of its schema's past. What was applied is told to its methods as the ledger has it, in the order of the versions.
#[derive(Debug)]
pub struct Migrations {
    /// What makes the ledger, [`Table::Migrations`], with the columns `version`, `name` (text), `checksum` (text) and `oldest` (a number or null);
    /// see [`render`].
    pub ledger: &'static str,
    /// Every migration in order; at least one.
    pub all: &'static [Migration],
}

impl Migrations {
    /// The version that the program needs.
    pub const fn version(&self) -> i64 {
        self.all[self.all.len() - 1].version
    }

    /// Each migration as text, in order; the first makes the ledger, too, after `before`.
    pub fn each(&self, dialect: &(impl Dialect + ?Sized), before: &str) -> Vec<MigrationSql> {
        let mut first = before.to_owned() + &render(dialect, self.ledger);
        self.all
            .iter()
            .map(|migration| MigrationSql {
                version: migration.version,
                name: migration.name,
                sql: std::mem::take(&mut first) + &migration.sql(dialect),
            })
            .collect()
    }

    /// The ledger and every migration as one text, which leads from nothing to the newest version.
    pub fn sql(&self, dialect: &(impl Dialect + ?Sized)) -> String {
        self.each(dialect, "").into_iter().map(|migration| migration.sql).collect()
    }

    /// The migration to apply next, if one is left.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) when the schema is newer than the program and not for it, or an applied
    /// migration is not the one it knows.
    pub fn next(&self, applied: &[Applied]) -> Result<Option<&'static Migration>> {
        let is_missing =
            |difference: &SchemaDifference| matches!(difference, SchemaDifference::MissingMigration(_));
        match self.differences(applied).into_iter().find(|difference| !is_missing(difference)) {
            Some(difference) => Err(misconfigured(difference.to_string())),
            None => Ok(self.all.iter().find(|migration| migration.checksum_in(applied).is_none())),
        }
    }

    /// In what the ledger is not as the program needs it.
    pub fn differences(&self, applied: &[Applied]) -> Vec<SchemaDifference> {
        let mut differences = Vec::new();
        for migration in self.all {
            match migration.checksum_in(applied) {
                None => differences.push(SchemaDifference::MissingMigration(migration.version)),
                Some(checksum) if checksum != migration.checksum() => {
                    differences.push(SchemaDifference::UnexpectedChecksum(migration.version));
                }
                Some(_) => {}
            }
        }
        let known = self.version();
        let needs_newer = |(version, _, oldest): &Applied| oldest.unwrap_or(*version) > known;
        if applied.iter().any(needs_newer)
            && let Some((found, ..)) = applied.last()
        {
            differences.push(SchemaDifference::NewerSchema { found: *found, known });
        }
        differences
    }
}
