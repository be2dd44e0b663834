//! One of the example's processes: started, killed, restarted, ended.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use omni_box_harness::process::{Child, workspace_binary};
use tokio::process::Command;

const READY_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(30);
const SHOWN_LINES: usize = 15;

/// A program that is started with the same arguments each time.
pub(super) struct Program {
    pub(super) name: String,
    binary: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    pub(super) fn new(name: &str, binary: &str, arguments: &[&str], logs: &Path) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            binary: workspace_binary(binary)?,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            log: logs.join(name).with_extension("log"),
            child: None,
        })
    }

    /// Starts it and waits for the line that begins with `ready`; returns what follows.
    pub(super) async fn start(&mut self, ready: &str) -> Result<String> {
        let mut command = Command::new(&self.binary);
        // A Ctrl-C for the demo is none for its programs: it ends them itself, and knows that it did.
        command.args(&self.arguments).process_group(0);
        // The end of a log is shown, and should be the error.
        command.env("RUST_BACKTRACE", "0");
        let child = self.child.insert(Child::spawn(command, &self.log)?);
        match child.line(READY_WITHIN, |line| line.starts_with(ready)).await {
            Ok(line) => Ok(line[ready.len()..].trim().to_owned()),
            Err(error) => bail!("{} did not start: {error:#}\n{}", self.name, self.tail()),
        }
    }

    /// # Errors
    /// When it should run and does not.
    pub(super) async fn check_alive(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        if child.is_running()? {
            return Ok(());
        }
        let status = child.wait(END_WITHIN).await?;
        self.child = None;
        bail!("{} ended unexpectedly with {status}\n{}", self.name, self.tail())
    }

    /// `kill -9`.
    pub(super) async fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        child.sigkill()?;
        child.wait(END_WITHIN).await?;
        Ok(())
    }

    /// Asks it to end, if it runs.
    ///
    /// # Errors
    /// When it ends with a failure, or had to be killed.
    pub(super) async fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        child.sigterm()?;
        match child.wait(END_WITHIN).await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("{} ended with {status}\n{}", self.name, self.tail()),
            // Dropping it kills it.
            Err(error) => bail!("{} did not end: {error:#}\n{}", self.name, self.tail()),
        }
    }

    /// The last lines of its log.
    pub(super) fn tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
        format!("the end of {}:\n  {last}", self.log.display())
    }
}
