//! PostgreSQL and Kafka for the tests: found where they run already, started where they do not.
//!
//! Each of the two is looked for in this order: the environment, one that an earlier call started,
//! Docker, local binaries. What this module starts outlives the process that started it, and ends
//! with [`down`].

mod docker;
pub mod local;
mod ready;
mod record;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{DATABASE_URL, KAFKA_BROKERS};
pub use record::{Origin, Record, Service};

/// How long a server that is said to run may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Where servers may come from when neither the environment nor an earlier call gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// Docker where a daemon answers, else local binaries.
    #[default]
    Any,
    /// Docker only.
    Docker,
    /// Local binaries only.
    Local,
}

/// How [`up`] and its companions work.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of data, logs and records.
    pub dir: PathBuf,
    /// Where servers may come from.
    pub provider: Provider,
}

impl Default for Options {
    fn default() -> Self {
        Self { dir: default_dir(), provider: Provider::Any }
    }
}

/// Addresses of a PostgreSQL and a Kafka that answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Services {
    /// URL of a database that the tests may create others from, as in [`DATABASE_URL`].
    pub database_url: String,
    /// Bootstrap servers, as in [`KAFKA_BROKERS`].
    pub kafka_brokers: String,
    /// Whether this call started at least one of the two.
    pub started: bool,
}

impl Services {
    /// The two environment variables that tests and programs read.
    pub fn env(&self) -> [(&'static str, &str); 2] {
        [(DATABASE_URL, &self.database_url), (KAFKA_BROKERS, &self.kafka_brokers)]
    }
}

/// The folder used when none is given: `services` in the build's target folder. Where that is comes from the environment cargo
/// runs this program in, since another checkout with the same target folder may have built it.
pub fn default_dir() -> PathBuf {
    let workspace = || {
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&own).ancestors().find(|folder| folder.join("Cargo.lock").exists());
        root.unwrap_or(Path::new(&own)).join("target")
    };
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(workspace, |dir| std::path::absolute(&dir).unwrap_or_else(|_| dir.into()));
    let _ = std::fs::create_dir_all(&target);
    target.canonicalize().unwrap_or(target).join("services")
}

/// Finds PostgreSQL and Kafka, or starts what is missing; returns once a query and a produce succeeded.
///
/// Progress and choices go to standard error, one line each.
///
/// # Errors
/// When a server cannot be had, with the line that installs what is missing. What this call had
/// started until then is ended first.
pub async fn up(options: &Options) -> Result<Services> {
    let _lock = lock(&options.dir)?;
    let postgres = find_or_start(Service::Postgres, options);
    let kafka = find_or_start(Service::Kafka, options);
    match tokio::join!(postgres, kafka) {
        (Ok(postgres), Ok(kafka)) => Ok(Services {
            database_url: postgres.address,
            kafka_brokers: kafka.address,
            started: postgres.started || kafka.started,
        }),
        (postgres, kafka) => {
            for (service, found) in [(Service::Postgres, &postgres), (Service::Kafka, &kafka)] {
                if found.as_ref().map_or(true, |found| found.started)
                    && let Some(record) = Record::load(&options.dir, service)?
                {
                    end(&record, &options.dir).await?;
                }
            }
            match (postgres, kafka) {
                (Err(postgres), Err(kafka)) => Err(anyhow::anyhow!("{postgres:#}\n{kafka:#}")),
                (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
                (Ok(_), Ok(_)) => unreachable!("one of the two failed"),
            }
        }
    }
}

/// Ends what earlier calls of [`up`] started and removes its data; the logs stay.
///
/// Returns what was ended. Servers named by the environment are not touched.
///
/// # Errors
/// When a record cannot be read or something survives being killed.
pub async fn down(options: &Options) -> Result<Vec<Record>> {
    let _lock = lock(&options.dir)?;
    let mut ended = Vec::new();
    for service in Service::ALL {
        if let Some(record) = Record::load(&options.dir, service)? {
            end(&record, &options.dir).await?;
            ended.push(record);
        }
    }
    Ok(ended)
}

/// One server as [`status`] found it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Status {
    /// Which of the two.
    pub service: Service,
    /// Its address; none when neither the environment nor a record names one.
    pub address: Option<String>,
    /// Who gave the address: `environment`, `container ...`, `process ...`, or `none`.
    pub origin: String,
    /// Whether it answered.
    pub answers: bool,
}

/// Tells what is there, without starting anything.
///
/// # Errors
/// When a record cannot be read.
pub async fn status(options: &Options) -> Result<Vec<Status>> {
    let mut all = Vec::new();
    for service in Service::ALL {
        let (address, origin) = match (service.address_from_env(), Record::load(&options.dir, service)?) {
            (Some(address), _) => (Some(address), "environment".to_owned()),
            (None, Some(record)) => (Some(record.address), record.origin.to_string()),
            (None, None) => (None, "none".to_owned()),
        };
        let answers = match &address {
            Some(address) => ready::answers(service, address, ANSWER_WITHIN).await.is_ok(),
            None => false,
        };
        all.push(Status { service, address, origin, answers });
    }
    Ok(all)
}

struct Found {
    address: String,
    started: bool,
}

async fn find_or_start(service: Service, options: &Options) -> Result<Found> {
    if let Some(address) = service.address_from_env() {
        ready::answers(service, &address, ANSWER_WITHIN)
            .await
            .with_context(|| format!("{} names a server that does not answer", service.variable()))?;
        return Ok(Found { address, started: false });
    }
    if let Some(record) = Record::load(&options.dir, service)? {
        match ready::answers(service, &record.address, ANSWER_WITHIN).await {
            Ok(()) => return Ok(Found { address: record.address, started: false }),
            Err(error) => {
                eprintln!("{service}: the one started earlier does not answer, starting another: {error:#}");
                end(&record, &options.dir).await?;
            }
        }
    }
    if options.provider != Provider::Local {
        match docker::start(service, &options.dir).await {
            Ok(record) => {
                eprintln!("{service}: {} at {}", record.origin, record.address);
                return Ok(Found { address: record.address, started: true });
            }
            Err(error) if options.provider == Provider::Docker => return Err(error),
            Err(error) => eprintln!("{service}: not by Docker: {error:#}"),
        }
    }
    let record = local::start(service, &options.dir).await?;
    eprintln!("{service}: {} at {}", record.origin, record.address);
    Ok(Found { address: record.address, started: true })
}

/// Ends a server, removes its data, then forgets it.
async fn end(record: &Record, dir: &Path) -> Result<()> {
    match &record.origin {
        Origin::Process { pid, data, scratch } => {
            local::end(record.service, *pid, data).await?;
            for folder in scratch.iter().chain([data]) {
                remove_dir(folder)?;
            }
        }
        Origin::Container { id } => docker::remove(id).await?,
    }
    record.forget(dir)
}

fn remove_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Two calls at once would start two of each: the second waits for the first.
fn lock(dir: &Path) -> Result<File> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = File::create(dir.join("lock"))?;
    file.lock()?;
    Ok(file)
}
