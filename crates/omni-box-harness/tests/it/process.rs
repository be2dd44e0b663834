use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use anyhow::Result;
use omni_box_harness::eventually;
use omni_box_harness::process::Child;
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str, dir: &tempfile::TempDir) -> Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Child::spawn(command, &dir.path().join("stderr.log"))
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

#[tokio::test]
async fn lines_are_awaited_and_errors_logged() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut child = shell("echo one; echo oops >&2; echo two; exit 3", &dir)?;
    assert_eq!(child.line(SOON, |line| line.starts_with("tw")).await?, "two");
    assert_eq!(child.wait(SOON).await?.code(), Some(3));
    let error = child.line(SOON, |_| true).await.unwrap_err();
    assert!(format!("{error:#}").contains("its output ended"), "{error:#}");
    assert_eq!(std::fs::read_to_string(dir.path().join("stderr.log"))?, "oops\n");
    Ok(())
}

#[tokio::test]
async fn a_line_that_does_not_come_is_an_error_with_what_came() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut child = shell("echo ready; exec sleep 60", &dir)?;
    let error = child.line(Duration::from_millis(500), |line| line == "done").await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("did not come in time") && error.contains("ready"), "{error}");
    Ok(())
}

#[tokio::test]
async fn signals_freeze_wake_and_end_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut child = shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", &dir)?;
    child.line(SOON, |line| line == "up").await?;
    child.sigstop()?;
    eventually(SOON, async || state(child.pid()) == Some('T')).await;
    assert!(child.is_running()?);
    child.sigcont()?;
    child.sigterm()?;
    child.line(SOON, |line| line == "bye").await?;
    assert!(child.wait(SOON).await?.success());
    assert!(child.sigkill().is_err(), "the id of an ended process may be a stranger's");

    let mut child = shell("exec sleep 60", &dir)?;
    assert!(child.wait(Duration::from_millis(50)).await.is_err());
    child.sigkill()?;
    assert_eq!(child.wait(SOON).await?.signal(), Some(9));
    Ok(())
}

#[tokio::test]
async fn a_dropped_child_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let child = shell("exec sleep 60", &dir)?;
    let pid = child.pid();
    child.sigstop()?;
    drop(child);
    eventually(SOON, async || matches!(state(pid), None | Some('Z'))).await;
    Ok(())
}
