//! The account that PostgreSQL runs as: it refuses to run as root.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::{Uid, User, chown};

/// An account without root's rights; none of this matters to who is not root.
pub(super) struct Account(Option<User>);

impl Account {
    /// The caller's own account, or for root that of `postgres` or `nobody`.
    pub(super) fn for_postgres() -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self(None));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name)? {
                return Ok(Self(Some(user)));
            }
        }
        anyhow::bail!("PostgreSQL does not run as root, and there is no other account: useradd postgres")
    }

    /// Lets `command` run under this account.
    pub(super) fn run_as(&self, command: &mut Command) {
        if let Some(user) = &self.0 {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
        }
    }

    /// Makes a folder this account's own.
    pub(super) fn own(&self, dir: &Path) -> Result<()> {
        if let Some(user) = &self.0 {
            chown(dir, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give {} to {}", dir.display(), user.name))?;
        }
        Ok(())
    }

    /// Whether this account may pass through `dir` and all folders above it: one below root's home
    /// it may not.
    pub(super) fn reaches(&self, dir: &Path) -> bool {
        let Some(user) = &self.0 else { return true };
        dir.ancestors().filter(|folder| !folder.as_os_str().is_empty()).all(|folder| {
            folder.metadata().is_ok_and(|meta| {
                let bit = match (meta.uid() == user.uid.as_raw(), meta.gid() == user.gid.as_raw()) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                meta.mode() & bit != 0
            })
        })
    }
}
