//! Settings of omni-box from a TOML file and the environment.
//!
//! - One rule for names: `[section] key` of the file is `OMNI_<SECTION>__<KEY>` in the environment, which has the last word but for the
//!   program's own [`Flags`].
//! - The file is the one that `OMNI_BOX_CONFIG` names, else `./omni-box.toml` if there is one.
//! - What does not exist is refused, with the name that was meant, and its line or variable.
//! - Durations are `"10s"` or `"14d"`, sizes `"8MiB"`; a number without its unit is refused.
//! - A secret may stand in a file of its own (`url_file`), and is in no message.
//!
//! Every setting is in [`KEYS`], and on the page `docs/settings.md`. Each section turns into what a builder takes:
//!
//! | section | method |
//! |---|---|
//! | `[outbox_processor]` | [`relay`](Settings::relay) |
//! | `[inbox]` | [`inbox`](Settings::inbox) |
//! | `[inbox_worker]` | [`inbox_worker`](Settings::inbox_worker) |
//! | `[retry]` | in these, and [`retry`](Settings::retry) |
//! | `[maintenance]` | [`maintenance`](Settings::maintenance) |
//! | `[database]` | [`database_url`](Settings::database_url); with the feature `postgres` also `postgres`, `postgres_pool` and `postgres_server`, with `sqlite` also `sqlite` and `sqlite_path` |
//! | `[kafka]` | with the feature `kafka`: `kafka_publisher` and `kafka_consumer` |
//!
//! A relay from a file:
//! ```
//! use omni_box_core::EnvelopeEventConverter;
//! use omni_box_pipeline::OutboxRelay;
//! use omni_box_settings::{RelayFromSettings, Settings};
//! use omni_box_testkit::{MemoryBroker, MemoryStore};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let file = directory.path().join("omni-box.toml");
//! std::fs::write(&file, "
//!     [outbox_processor]
//!     worker_id = 'orders-1'
//!     lease_ttl = '30s'
//!
//!     [retry]
//!     max = '15m'
//! ")?;
//! let settings = Settings::read(Some(&file), std::env::vars_os())?; // `Settings::load()` in a program
//!
//! let publisher = MemoryBroker::new().publisher(EnvelopeEventConverter);
//! let relay = OutboxRelay::from_settings(&settings, MemoryStore::new(), publisher)?.build()?;
//! # Ok(())
//! # }
//! ```
//!
//! With PostgreSQL and Kafka (features `postgres` and `kafka`):
//! ```
//! # #[cfg(all(feature = "postgres", feature = "kafka"))]
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use omni_box_core::EnvelopeEventConverter;
//! use omni_box_kafka::KafkaEventPublisher;
//! use omni_box_pipeline::{OutboxRelay, Workers, shutdown_signal};
//! use omni_box_postgres::PgStore;
//! use omni_box_settings::Settings;
//!
//! let settings = Settings::load()?;
//! let pool = settings.postgres_pool().connect_with(settings.postgres_server()?).await?;
//! let store = PgStore::new(pool, settings.postgres()?);
//! let publisher = KafkaEventPublisher::from_config(settings.kafka_publisher()?, EnvelopeEventConverter)?;
//! let relay = OutboxRelay::builder(store.clone(), publisher).config(settings.relay()?).build()?;
//! let maintenance = settings.maintenance().outbox(store);
//! Workers::new().relay(relay).maintenance(maintenance).run_until(shutdown_signal()).await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builders;
mod entry;
mod environment;
mod file;
mod flags;
mod key;
mod keys;
mod nearest;
mod origin;
mod reference;
mod secret;
mod section;
mod settings;
mod value;

pub use builders::{RelayFromSettings, RunnerFromSettings, WorkerFromSettings};
pub use flags::Flags;
pub use key::{Key, Kind};
pub use keys::KEYS;
pub use reference::reference;
pub use secret::Secret;
pub use settings::Settings;
