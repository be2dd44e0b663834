//! What `up` started, written down so that another process can find and end it.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{DATABASE_URL, KAFKA_BROKERS};

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The database server.
    Postgres,
    /// The broker.
    Kafka,
}

impl Service {
    pub(super) const ALL: [Service; 2] = [Service::Postgres, Service::Kafka];

    pub(super) fn variable(self) -> &'static str {
        match self {
            Service::Postgres => DATABASE_URL,
            Service::Kafka => KAFKA_BROKERS,
        }
    }

    pub(super) fn address_from_env(self) -> Option<String> {
        std::env::var(self.variable()).ok().filter(|value| !value.is_empty())
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Service::Postgres => "postgres",
            Service::Kafka => "kafka",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a started server runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A process of this machine.
    Process {
        /// Its id.
        pid: u32,
        /// Its data folder; also part of its command line, which is how it is told from a stranger
        /// that got the same id later.
        data: PathBuf,
        /// A folder made for it outside of the services folder, removed with it.
        scratch: Option<PathBuf>,
    },
    /// A Docker container.
    Container {
        /// Its id.
        id: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Process { pid, .. } => write!(f, "process {pid}"),
            Origin::Container { id } => write!(f, "container {}", id.get(..12).unwrap_or(id)),
        }
    }
}

/// A started server: which, where, and how to reach it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Which of the two.
    pub service: Service,
    /// Database URL or bootstrap servers.
    pub address: String,
    /// Where it runs.
    pub origin: Origin,
}

impl Record {
    pub(super) fn load(dir: &Path, service: Service) -> Result<Option<Record>> {
        let path = path(dir, service);
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is not a record of a server", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Written as soon as the server exists and before it is ready, so that an `up` that was
    /// interrupted leaves nothing that `down` cannot find.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let path = path(dir, self.service);
        let partial = path.with_extension("partial");
        std::fs::write(&partial, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Forgets a server that has ended.
    pub(super) fn forget(&self, dir: &Path) -> Result<()> {
        std::fs::remove_file(path(dir, self.service)).context("cannot remove the record of an ended server")
    }
}

fn path(dir: &Path, service: Service) -> PathBuf {
    dir.join(service.name()).with_extension("json")
}
