//! A database of a test's own.

use anyhow::{Context, Result};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool};

use crate::DATABASE_URL;

const CONNECTIONS: u32 = 20;

/// A fresh, empty database; dropped with all of its connections by [`close`](Self::close), or with this.
pub struct TestDatabase {
    server: PgConnectOptions,
    name: String,
    pool: PgPool,
    dropped: bool,
}

impl TestDatabase {
    /// Creates a database on the server that [`DATABASE_URL`] names.
    ///
    /// # Errors
    /// When the variable is not set or the server refuses.
    pub async fn create() -> Result<Self> {
        let url = std::env::var(DATABASE_URL).with_context(|| format!("{DATABASE_URL} is not set"))?;
        Self::create_on(&url).await
    }

    /// Creates a database on the server of `url`, such as that of a private server.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_on(url: &str) -> Result<Self> {
        crate::guard_log();
        let server: PgConnectOptions = url.parse().context("not a PostgreSQL URL")?;
        let name = format!("omni_box_test_{}", uuid::Uuid::new_v4().simple());
        execute(&server, format!("create database {name}")).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_lazy_with(server.clone().database(&name));
        Ok(Self { server, name, pool, dropped: false })
    }

    /// URL for other pools and processes.
    pub fn url(&self) -> String {
        self.server.clone().database(&self.name).to_url_lossy().to_string()
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A pool of up to 20 connections.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Drops the database, also while programs are connected.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn close(mut self) -> Result<()> {
        self.dropped = true;
        execute(&self.server, drop_statement(&self.name)).await
    }
}

impl Drop for TestDatabase {
    /// The best that can be done for a test that failed; an error is told and ignored.
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let (server, statement) = (self.server.clone(), drop_statement(&self.name));
        // The test's own runtime may be the one that is dropping this: a thread brings its own.
        let thread = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(async { execute(&server, statement).await })
        });
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("database {} stays: {error:#}", self.name),
            Err(_) => eprintln!("database {} stays", self.name),
        }
    }
}

fn drop_statement(name: &str) -> String {
    format!("drop database if exists {name} with (force)")
}

async fn execute(server: &PgConnectOptions, statement: String) -> Result<()> {
    let mut conn = PgConnection::connect_with(server).await?;
    // The name is made here of letters, digits and underscores.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}
