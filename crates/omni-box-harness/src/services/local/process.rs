//! Starting, watching and ending a server's process.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::usage::Stat;

const PAUSE: Duration = Duration::from_millis(20);
const KILLED_WITHIN: Duration = Duration::from_secs(10);

/// Whom a server's process goes down with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// With its starter: a Ctrl-C for that is one for the server too.
    Starter,
    /// With no process: it is ended on purpose.
    Own,
}

/// A server's process and its log.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output appended to `log`.
    pub(super) fn spawn(mut command: Command, log: &Path, lifetime: Lifetime) -> Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        if lifetime == Lifetime::Own {
            command.process_group(0);
        }
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// When it has ended, with the last lines of its log.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                bail!("ended with {status}; {} closes with\n{}", self.log.display(), tail(&self.log))
            }
        }
    }

    /// Sends `signal`, kills what has not ended within the time, and reaps it.
    pub(super) fn end(mut self, signal: Signal, within: Duration) -> Result<()> {
        end(self.pid(), signal, within)?;
        self.child.wait()?;
        Ok(())
    }
}

/// Runs a command to its end; its output is shown only when it fails.
pub(super) fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {program:?}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{program:?} ended with {}:\n{}", output.status, last_lines(&String::from_utf8_lossy(&text)));
    }
    Ok(())
}

/// Sends `signal` to a server's process and kills it with its children if it lives on after `within`.
pub(super) fn end(pid: u32, signal: Signal, within: Duration) -> Result<()> {
    // Children of a killed postmaster live on until they notice, and hold its shared memory.
    let mut all = children(pid)?;
    all.push(pid);
    send(pid, signal);
    if wait_gone(&all, within) {
        return Ok(());
    }
    all.extend(children(pid)?);
    for pid in &all {
        send(*pid, Signal::SIGKILL);
    }
    anyhow::ensure!(wait_gone(&all, KILLED_WITHIN), "process {pid} survived SIGKILL");
    Ok(())
}

/// Whether `pid` runs with `argument` as part of its command line.
pub(super) fn holds(pid: u32, argument: &Path) -> bool {
    let wanted = argument.as_os_str().as_encoded_bytes();
    std::fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.windows(wanted.len()).any(|part| part == wanted))
}

/// A port of 127.0.0.1 that nothing listens on.
///
/// Below the range of outgoing connections. While a server is stopped for a test, a client that keeps connecting could be given that port
/// as its own end, and block it.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = fastrand::u16(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 32000")
}

fn send(pid: u32, signal: Signal) {
    // It may have ended meanwhile; whether it did is looked at afterwards.
    let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
}

fn wait_gone(pids: &[u32], within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if pids.iter().all(|pid| is_gone(*pid)) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ended, or waiting to be reaped by its parent.
fn is_gone(pid: u32) -> bool {
    Stat::read(pid).is_none_or(|stat| stat.state == 'Z' || stat.state == 'X')
}

fn children(pid: u32) -> Result<Vec<u32>> {
    Ok(Stat::all()?.into_iter().filter(|(_, stat)| stat.parent == pid).map(|(pid, _)| pid).collect())
}

fn tail(log: &Path) -> String {
    std::fs::read(log).map_or_else(|error| error.to_string(), |b| last_lines(&String::from_utf8_lossy(&b)))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
