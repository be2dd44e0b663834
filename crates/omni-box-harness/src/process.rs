//! Programs under test: started, listened to, frozen, killed.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::canary;
use crate::usage::children_of;

/// How many of the last lines an error shows.
const SHOWN_LINES: usize = 20;

/// A running program; killed when this is dropped.
pub struct Child {
    child: tokio::process::Child,
    pid: u32,
    lines: mpsc::UnboundedReceiver<String>,
    seen: VecDeque<String>,
    log: PathBuf,
    /// Where its part of the log begins, in bytes.
    from: u64,
}

/// Looks at what it has logged.
impl Drop for Child {
    fn drop(&mut self) {
        canary::check_file(&self.log, self.from);
    }
}

impl Child {
    /// Starts `command`; its standard output is kept line by line, its standard error appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not started.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let program = command.as_std().get_program().to_owned();
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let from = stderr.metadata().map_or(0, |file| file.len());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {program:?}"))?;
        let pid = child.id().context("it has no process id")?;
        let stdout = child.stdout.take().context("it has no standard output")?;
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut stdout = BufReader::new(stdout).lines();
            // Read on when no task listens any more: a full pipe would stop the program.
            while let Ok(Some(line)) = stdout.next_line().await {
                let _ = sender.send(line);
            }
        });
        Ok(Self { child, pid, lines, seen: VecDeque::new(), log: log.to_owned(), from })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The next line of its standard output for which `wanted` is true; earlier lines are passed over.
    ///
    /// Cancel safe: a line is lost only once it has been looked at.
    ///
    /// # Errors
    /// When no such line came `within` the time, or the output ended.
    pub async fn line(&mut self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let search = async {
            while let Some(line) = self.lines.recv().await {
                if wanted(&line) {
                    return Ok(line);
                }
                if self.seen.len() == SHOWN_LINES {
                    self.seen.pop_front();
                }
                self.seen.push_back(line);
            }
            anyhow::bail!("its output ended")
        };
        let found = timeout(within, search).await.context("it did not come in time").flatten();
        found.with_context(|| {
            format!(
                "waiting for a line of process {} (errors in {}), last lines: {:#?}",
                self.pid,
                self.log.display(),
                self.seen
            )
        })
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When it has been waited for already.
    pub fn sigkill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL)
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// When it has been waited for already.
    pub fn sigterm(&self) -> Result<()> {
        self.signal(Signal::SIGTERM)
    }

    /// Freezes it.
    ///
    /// # Errors
    /// When it has been waited for already.
    pub fn sigstop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`sigstop`](Self::sigstop).
    ///
    /// # Errors
    /// When it has been waited for already.
    pub fn sigcont(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it has not ended `within` the time; it runs on.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let ended = timeout(within, self.child.wait()).await;
        Ok(ended.with_context(|| format!("process {} runs on after {within:?}", self.pid))??)
    }

    /// Whether it runs, or is frozen.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Once reaped its id may belong to a stranger.
        let pid = self.child.id().with_context(|| format!("process {} has ended", self.pid))?;
        kill(Pid::from_raw(pid.cast_signed()), signal)
            .with_context(|| format!("cannot send {signal} to {pid}"))
    }
}

/// Freezes a process and its children, as a server's; [`thaw`] lets them go on.
///
/// # Errors
/// When the process is gone.
pub fn freeze(pid: u32) -> Result<()> {
    signal_all(pid, Signal::SIGSTOP)
}

/// Lets a process and its children go on.
///
/// # Errors
/// When the process is gone.
pub fn thaw(pid: u32) -> Result<()> {
    signal_all(pid, Signal::SIGCONT)
}

/// The process first: frozen it starts no more children.
fn signal_all(pid: u32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid.cast_signed()), signal)
        .with_context(|| format!("cannot send {signal} to {pid}"))?;
    for child in children_of(pid) {
        // it may have ended meanwhile
        let _ = kill(Pid::from_raw(child.cast_signed()), signal);
    }
    Ok(())
}

/// Path of another program of this workspace, built beside the one that runs.
///
/// # Errors
/// When it is not built.
pub fn workspace_binary(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().context("a program lies in a folder")?;
    // Test programs lie one folder deeper than others.
    let dir = if beside.ends_with("deps") { beside.parent().unwrap_or(beside) } else { beside };
    let path = dir.join(name).with_extension(std::env::consts::EXE_EXTENSION);
    anyhow::ensure!(path.is_file(), "{name} is not built: cargo build --workspace --bins");
    Ok(path)
}
