//! A process that a workload starts: this program in another role. It answers each line with a line of JSON, and ends when its standard
//! input ends.

use std::io::{BufRead, Write};
use std::marker::PhantomData;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};

/// A process that answers with `T`; it ends with this value.
pub(crate) struct Child<T> {
    process: Process,
    stdin: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    told: PhantomData<T>,
}

/// This program in another role, on these servers.
pub(crate) fn role(arguments: &[&str], database_url: &str, brokers: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).env("OMNI_BOX_DATABASE_URL", database_url).env("OMNI_BOX_KAFKA_BROKERS", brokers);
    Ok(command)
}

impl<T: DeserializeOwned> Child<T> {
    pub(crate) fn start(mut command: Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdin = process.stdin.take().context("the process has no standard input")?;
        let stdout = process.stdout.take().context("the process has no standard output")?;
        Ok(Self { process, stdin, answers: BufReader::new(stdout).lines(), told: PhantomData })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.process.id().context("the process has ended")
    }

    /// What it answers to a line.
    pub(crate) async fn ask(&mut self, line: &str) -> Result<T> {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let answer = self.answers.next_line().await?.context("the process has ended")?;
        serde_json::from_str(&answer).context("the process's answer")
    }

    /// Lets it end in order.
    pub(crate) async fn stop(self) -> Result<()> {
        let Self { mut process, stdin, .. } = self;
        drop(stdin);
        let status = process.wait().await?;
        ensure!(status.success(), "the process ended with {status}");
        Ok(())
    }
}

/// Answers each line of the standard input, until it ends.
pub(crate) async fn answer<T: Serialize>(tell: impl Fn(&str) -> T + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(move || {
        let mut output = std::io::stdout().lock();
        for line in std::io::stdin().lock().lines() {
            writeln!(output, "{}", serde_json::to_string(&tell(&line?))?)?;
            output.flush()?;
        }
        Ok(())
    })
    .await?
}
