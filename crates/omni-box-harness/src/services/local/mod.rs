//! Servers as processes of this machine.

mod account;
mod binaries;
pub(super) mod jars;
mod kafka;
mod postgres;
mod process;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::{Origin, Record, Service};
pub(super) use kafka::kafka_settings;
pub use kafka::{KafkaServer, Listener};
pub use postgres::PostgresServer;
use process::Lifetime;
pub(super) use process::free_port;

/// How long a server may take from its start to its first answer.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a server may take to end when asked, before it is killed.
const END_WITHIN: Duration = Duration::from_secs(20);

/// Starts `service` as a process that outlives this one, recorded in `dir` from its first moment.
pub(super) async fn start(service: Service, dir: &Path) -> Result<Record> {
    let home = dir.join(service.name());
    // Data without a record was left by something that ended halfway; nothing runs on it.
    let data = home.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    let save = |address: &str, origin: &Origin| {
        Record { service, address: address.to_owned(), origin: origin.clone() }.save(dir)
    };
    let (address, origin) = match service {
        Service::Postgres => PostgresServer::launch(&home, Lifetime::Own, save).await?.detach(),
        Service::Kafka => KafkaServer::launch(&home, Lifetime::Own, None, save).await?.detach(),
    };
    Ok(Record { service, address, origin })
}

/// Ends the process `pid` if it is the server that holds `data`.
pub(super) async fn end(service: Service, pid: u32, data: &Path) -> Result<()> {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || {
        if process::holds(pid, &data) {
            process::end(pid, stop_signal(service), END_WITHIN)?;
        }
        Ok(())
    })
    .await?
}

/// The signal for a quick and clean end. PostgreSQL takes SIGTERM for "when the last client has gone".
fn stop_signal(service: Service) -> Signal {
    match service {
        Service::Postgres => Signal::SIGINT,
        Service::Kafka => Signal::SIGTERM,
    }
}
