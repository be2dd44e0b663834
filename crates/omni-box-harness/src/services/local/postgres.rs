//! A PostgreSQL server of one's own, to stop, kill and start again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::account::Account;
use super::process::{Lifetime, Process, free_port, run};
use super::{END_WITHIN, READY_WITHIN, binaries, stop_signal};
use crate::services::{Origin, Service, default_dir, ready};

/// A private PostgreSQL server; it ends when this is dropped.
pub struct PostgresServer {
    port: u16,
    log: PathBuf,
    data: PathBuf,
    scratch: Option<PathBuf>,
    bin: PathBuf,
    account: Account,
    process: Option<Process>,
}

impl PostgresServer {
    /// Makes a new server in `dir`, starts it, and returns when it answered a query.
    ///
    /// `dir` is created if absent and must hold no server yet. As root the server runs under another
    /// account; where that account cannot reach `dir`, the data lies in a temporary folder.
    ///
    /// # Errors
    /// When PostgreSQL is not to be had or does not start.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::launch(dir, Lifetime::Starter, |_, _| Ok(())).await
    }

    pub(super) async fn launch(
        dir: &Path,
        lifetime: Lifetime,
        spawned: impl FnOnce(&str, &Origin) -> Result<()>,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let account = Account::for_postgres()?;
        account.own(&dir)?;
        let scratch = if account.reaches(&dir) { None } else { Some(scratch(&account)?) };
        let home = scratch.clone().unwrap_or_else(|| dir.clone());
        let cache = default_dir();
        let mut server = Self {
            port: free_port()?,
            log: dir.join("server.log"),
            data: home.join("data"),
            bin: binaries::find(if account.reaches(&cache) { &cache } else { &home }).await?,
            scratch,
            account,
            process: None,
        };
        let mut initdb = server.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        tokio::task::spawn_blocking(move || run(&mut initdb)).await?.context("cannot create a database")?;
        server.spawn(lifetime)?;
        spawned(&server.url(), &server.origin())?;
        server.wait_ready().await?;
        Ok(server)
    }

    /// URL of the database `postgres` as its superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The postmaster's process id; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends the server cleanly and at once: open connections are cut, transactions rolled back.
    ///
    /// # Errors
    /// When it survives even being killed.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(stop_signal(Service::Postgres)).await
    }

    /// Kills the server with all of its processes, as a crash would.
    ///
    /// # Errors
    /// When it survives.
    pub async fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL).await
    }

    /// Starts the stopped or killed server on the same port and data; returns when it answered a query.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        anyhow::ensure!(self.process.is_none(), "the server runs");
        self.spawn(Lifetime::Starter)?;
        self.wait_ready().await
    }

    /// Lets the server live on; the caller has its record.
    pub(super) fn detach(mut self) -> (String, Origin) {
        let kept = (self.url(), self.origin());
        self.process = None;
        self.scratch = None;
        kept
    }

    fn origin(&self) -> Origin {
        Origin::Process {
            pid: self.pid().unwrap_or_default(),
            data: self.data.clone(),
            scratch: self.scratch.clone(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.arg("-D").arg(&self.data);
        self.account.run_as(&mut command);
        command
    }

    fn spawn(&mut self, lifetime: Lifetime) -> Result<()> {
        let mut command = self.command("postgres");
        for setting in [
            &format!("port={}", self.port),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "fsync=on",
        ] {
            command.args(["-c", setting]);
        }
        self.process = Some(Process::spawn(command, &self.log, lifetime)?);
        Ok(())
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let url = self.url();
        let Some(process) = &mut self.process else { anyhow::bail!("the server is stopped") };
        ready::answers_while(Service::Postgres, &url, READY_WITHIN, || process.check_alive()).await
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        match self.process.take() {
            Some(process) => tokio::task::spawn_blocking(move || process.end(signal, END_WITHIN)).await?,
            None => Ok(()),
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Some(process) = self.process.take()
            && let Err(error) = process.end(Signal::SIGKILL, END_WITHIN)
        {
            eprintln!("postgres: {error:#}");
        }
        if let Some(scratch) = &self.scratch {
            let _ = std::fs::remove_dir_all(scratch);
        }
    }
}

/// A folder that any account can reach.
fn scratch(account: &Account) -> Result<PathBuf> {
    let dir = tempfile::Builder::new().prefix("omni-box-postgres-").tempdir()?.keep();
    account.own(&dir)?;
    anyhow::ensure!(account.reaches(&dir), "PostgreSQL's account cannot reach {}", dir.display());
    Ok(dir)
}
