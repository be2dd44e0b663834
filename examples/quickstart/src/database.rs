//! The database: a SQLite file in a temporary directory, or the one that was named.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::shop::Shop;

/// Longest time until a server answers.
const CONNECT: Duration = Duration::from_secs(5);

/// A database with the tables of omni-box and of the shop.
pub(crate) enum Database {
    /// A file, in a directory that goes away unless the user named the file.
    Sqlite { store: SqliteStore, file: PathBuf, directory: Option<TempDir> },
    /// A schema on a server.
    Postgres { store: PgStore },
}

impl Database {
    pub(crate) async fn open(url: Option<&str>, run: &str) -> anyhow::Result<Self> {
        let Some(url) = url else {
            let directory = TempDir::with_prefix("quickstart-").context("no temporary directory")?;
            let file = directory.path().join("quickstart.db");
            return Self::sqlite(file, Some(directory)).await;
        };
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::postgres(url, run).await;
        }
        if let Some((scheme, _)) = url.split_once("://") {
            bail!(
                "--database-url: {scheme} is not a database of this program: postgres://.., or the path of a SQLite file"
            );
        }
        let file = PathBuf::from(url);
        ensure!(
            !file.exists(),
            "--database-url: {} is there already, name a file to be made",
            file.display()
        );
        Self::sqlite(file, None).await
    }

    async fn sqlite(file: PathBuf, directory: Option<TempDir>) -> anyhow::Result<Self> {
        let store = SqliteStore::open(&file, SqliteConfig::default())
            .await
            .with_context(|| format!("cannot make the SQLite file {}", file.display()))?;
        store.migrate().await?;
        create_tables(&store).await?;
        Ok(Self::Sqlite { store, file, directory })
    }

    async fn postgres(url: &str, run: &str) -> anyhow::Result<Self> {
        let server: PgConnectOptions = url.parse().context("--database-url is not a URL of PostgreSQL")?;
        // a pool would hide the reason behind a timeout
        timeout(CONNECT, server.connect())
            .await
            .with_context(|| format!("PostgreSQL did not answer in {CONNECT:?}"))?
            .context("cannot connect to PostgreSQL")?
            .close()
            .await?;
        // the shop's own statements find their tables in the schema of this run too
        let pool = PgPoolOptions::new().connect_lazy_with(server.options([("search_path", run)]));
        let store = PgStore::new(pool, PgConfig::builder().schema(run).build()?);
        store.migrate().await?;
        create_tables(&store).await?;
        Ok(Self::Postgres { store })
    }

    /// What it is and where.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Sqlite { file, .. } => format!("SQLite file {}", file.display()),
            Self::Postgres { store } => format!("PostgreSQL schema {}", store.config().schema()),
        }
    }

    /// Closes it, and removes what only this run has made unless it is to be kept. Says what is left.
    pub(crate) async fn close(self, keep: bool) -> anyhow::Result<Option<String>> {
        let place = self.place();
        match self {
            Self::Sqlite { store, file, directory } => {
                store.pool().close().await;
                match directory {
                    Some(directory) if keep => drop(directory.keep()),
                    Some(directory) => {
                        directory.close().with_context(|| format!("cannot remove {}", file.display()))?;
                        return Ok(None);
                    }
                    None => {}
                }
            }
            Self::Postgres { store } => {
                store.pool().close().await;
                if !keep {
                    let mut conn = store.pool().connect_options().connect().await?;
                    // the name is made of letters, digits and underscores
                    let statement = format!("drop schema {} cascade", store.config().schema());
                    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await?;
                    conn.close().await?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(place))
    }
}

async fn create_tables<S: Shop>(store: &S) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    S::create_tables(&mut tx).await.context("cannot create the tables of the shop")?;
    store.commit(tx).await?;
    Ok(())
}
