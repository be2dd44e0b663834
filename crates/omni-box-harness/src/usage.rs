//! What processes cost, as Linux tells it in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Ticks of a second in `/proc/PID/stat`: the same on all that Linux runs on today.
const TICKS: f64 = 100.0;

/// Seconds of processor time that a process and its children have used, with those that have ended; `None` where it cannot be told.
pub fn seconds_of(pid: u32) -> Option<f64> {
    let stats = Stat::all().ok()?;
    let root = stats.get(&pid)?;
    let children = stats.values().filter(|stat| stat.parent == pid).map(|stat| stat.own);
    Some((root.own + root.waited_for + children.sum::<u64>()) as f64 / TICKS)
}

/// The children of a process; none where the system does not tell.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let stats = Stat::all().unwrap_or_default();
    stats.iter().filter(|(_, stat)| stat.parent == pid).map(|(child, _)| *child).collect()
}

/// The process that listens on a port of this machine.
pub fn listener(port: u16) -> Option<u32> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&format!(":{port:04X}")) && *fields.get(3)? == "0A";
            listens.then(|| format!("socket:[{}]", fields[9]))
        })
    })?;
    let has_socket = |pid: u32| {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&inode)))
    };
    let mut owners = Stat::all().ok()?;
    owners.retain(|pid, _| has_socket(*pid));
    // children may have inherited it
    owners.iter().find(|(_, stat)| !owners.contains_key(&stat.parent)).map(|(pid, _)| *pid)
}

/// The largest resident memory of a process so far, in MiB.
pub fn rss_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// A line of `/proc/PID/stat`; times are in ticks.
pub(crate) struct Stat {
    pub(crate) state: char,
    pub(crate) parent: u32,
    own: u64,
    waited_for: u64,
}

impl Stat {
    /// `None`: it is gone.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // the name before it is in parentheses and may hold anything, a parenthesis too
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            waited_for: number(13)? + number(14)?,
        })
    }

    /// Those of all processes, by their ids.
    pub(crate) fn all() -> std::io::Result<HashMap<u32, Self>> {
        let ids =
            fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(ids.filter_map(|pid| Some((pid, Self::read(pid)?))).collect())
    }
}
