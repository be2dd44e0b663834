//! `[database]`

use omni_box_core::Result;
use url::Url;

use crate::origin::misconfigured;
use crate::{Secret, Settings};

const DATABASE: &str = "database";

impl Settings {
    /// `database.url`: that of the settings, of the file that `url_file` names (read now), or of `DATABASE_URL`.
    ///
    /// # Errors
    /// [`Misconfigured`](omni_box_core::ErrorKind::Misconfigured) when there is none, or its file cannot be read.
    pub fn database_url(&self) -> Result<Secret<String>> {
        if let Some(url) = self.text(DATABASE, "url")? {
            return Ok(Secret::new(url));
        }
        self.fallback().cloned().ok_or_else(|| Self::required(DATABASE, "url"))
    }

    /// The URL, of one of these schemes, with what may be shown of it.
    #[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), expect(dead_code))]
    fn url_of(&self, schemes: &[&str]) -> Result<(Secret<String>, String)> {
        let text = self.database_url()?;
        let name = self.name(DATABASE, "url");
        let url = Url::parse(text.expose())
            .map_err(|error| misconfigured(format!("{name} is not a URL: {error}")))?;
        let shown = shown(&url);
        if !schemes.contains(&url.scheme()) {
            return Err(misconfigured(format!(
                "{name} is {shown}, needs to begin with {}:",
                schemes.join(": or ")
            )));
        }
        Ok((text, format!("{name} {shown}")))
    }
}

/// A URL without user, password and parameters, and of one that is malformed nothing that might be a password.
fn shown(url: &Url) -> String {
    let (scheme, path) = (url.scheme(), url.path());
    if url.cannot_be_a_base() {
        return if scheme == "sqlite" { "sqlite:.." } else { "not one of a database" }.to_owned();
    }
    if path.contains('@') {
        return format!("{scheme}://..");
    }
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}")
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::str::FromStr;

    use omni_box_core::Result;
    use omni_box_postgres::{Listen, PgConfig, Table};
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use super::DATABASE;
    use crate::Settings;
    use crate::origin::misconfigured;

    impl Settings {
        /// `[database]`, for `PgStore::new`.
        ///
        /// # Errors
        /// Those of [`PgConfigBuilder::build`](omni_box_postgres::PgConfigBuilder::build).
        pub fn postgres(&self) -> Result<PgConfig> {
            let mut config = PgConfig::builder();
            for table in Table::ALL {
                if let Some(name) = self.text(DATABASE, super::table_key(*table))? {
                    config = config.table(*table, name);
                }
            }
            if let Some(schema) = self.text(DATABASE, "schema")? {
                config = config.schema(schema);
            }
            if let Some(wait) = self.duration(DATABASE, "migrate_wait") {
                config = config.migrate_wait(wait);
            }
            if self.text(DATABASE, "listen")?.as_deref() == Some("off") {
                config = config.listen(Listen::Off);
            }
            config.build()
        }

        /// `[database]`: size and patience of a pool.
        pub fn postgres_pool(&self) -> PgPoolOptions {
            let mut options = PgPoolOptions::new();
            if let Some(connections) = self.number(DATABASE, "max_connections") {
                options = options.max_connections(connections);
            }
            match self.duration(DATABASE, "acquire_timeout") {
                Some(wait) => options.acquire_timeout(wait),
                None => options,
            }
        }

        /// The server of `database.url`, for [`PgPoolOptions::connect_with`]. Its own `Debug` shows the password. A URL in a file is read
        /// again: call it for each new pool.
        ///
        /// # Errors
        /// As [`database_url`](Self::database_url), and when it is not one of PostgreSQL. No user or password is in the message.
        pub fn postgres_server(&self) -> Result<PgConnectOptions> {
            let (url, shown) = self.url_of(&["postgres", "postgresql"])?;
            // the driver's own message may quote a parameter
            PgConnectOptions::from_str(url.expose()).map_err(|_| {
                misconfigured(format!("{shown} has a parameter or part that PostgreSQL does not take"))
            })
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use std::path::PathBuf;
    use std::str::FromStr;

    use omni_box_core::Result;
    use omni_box_sqlite::{SqliteConfig, Table};
    use sqlx::sqlite::SqliteConnectOptions;

    use super::DATABASE;
    use crate::Settings;
    use crate::origin::misconfigured;

    impl Settings {
        /// `[database]`, for `SqliteStore::open`.
        ///
        /// # Errors
        /// Those of [`SqliteConfigBuilder::build`](omni_box_sqlite::SqliteConfigBuilder::build).
        pub fn sqlite(&self) -> Result<SqliteConfig> {
            let mut config = SqliteConfig::builder();
            for table in Table::ALL {
                if let Some(name) = self.text(DATABASE, super::table_key(*table))? {
                    config = config.table(*table, name);
                }
            }
            if let Some(timeout) = self.duration(DATABASE, "busy_timeout") {
                config = config.busy_timeout(timeout);
            }
            if let Some(wait) = self.duration(DATABASE, "migrate_wait") {
                config = config.migrate_wait(wait);
            }
            if let Some(connections) = self.number(DATABASE, "max_connections") {
                config = config.max_connections(connections);
            }
            config.build()
        }

        /// The file of `database.url`, for `SqliteStore::open`.
        ///
        /// # Errors
        /// As [`database_url`](Self::database_url), and when it is not `sqlite:path`, or has parameters, which `SqliteStore::open` sets itself.
        pub fn sqlite_path(&self) -> Result<PathBuf> {
            let (url, shown) = self.url_of(&["sqlite"])?;
            if url.expose().contains('?') {
                return Err(misconfigured(format!("{shown} has parameters, needs sqlite:path alone")));
            }
            let options = SqliteConnectOptions::from_str(url.expose())
                .map_err(|_| misconfigured(format!("{shown} is not sqlite:path")))?;
            Ok(options.get_filename().to_owned())
        }
    }
}

/// The key of a table's name.
#[cfg(feature = "postgres")]
use omni_box_postgres::Table as AnyTable;
#[cfg(all(feature = "sqlite", not(feature = "postgres")))]
use omni_box_sqlite::Table as AnyTable;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn table_key(table: AnyTable) -> &'static str {
    let name = table.default_name();
    let key = crate::KEYS
        .iter()
        .find(|key| key.section == DATABASE && key.name.strip_suffix("_table") == Some(name));
    key.map_or("", |key| key.name)
}
