//! Transactional outbox and inbox for async Rust services.
//!
//! An *outbox* makes an event exist exactly when the transaction that wrote it commits. It brings the event to the broker at least once, in
//! the order of its key. An *inbox* makes a message take effect once: the handler's writes, the events it enqueues and the row that
//! remembers the message commit together.
//!
//! | feature | brings |
//! |---|---|
//! | `postgres` | [`PgStore`](postgres::PgStore): tables, lanes, migrations on sqlx, with TLS by rustls |
//! | `postgres-plaintext` | the same without TLS, or with that which a dependency on sqlx of your own chooses (`tls-native-tls`) |
//! | `sqlite` | [`SqliteStore`](sqlite::SqliteStore): the same in a file of its own, without a server |
//! | `kafka` | [`KafkaEventPublisher`](kafka::KafkaEventPublisher) and [`KafkaEventConsumer`](kafka::KafkaEventConsumer) on rdkafka, with TLS: needs OpenSSL's headers |
//! | `kafka-plaintext` | the same without TLS and SASL SCRAM |
//! | `prometheus` | [`PrometheusMetrics`](prometheus::PrometheusMetrics): relays and inboxes on a registry of yours |
//! | `opentelemetry` | [`TraceLayer`](otel::TraceLayer): one trace from the code that enqueues an event to its handler; metrics by a meter |
//! | `settings` | [`Settings`](settings::Settings): a TOML file, the environment and flags, turned into the settings of all of these |
//! | `macros` | `#[derive(EventSchema)]` and `#[event_handlers]` |
//! | `full` | all of these |
//! | `testkit` | [`testkit`]: a store, a broker, a clock and faults in memory, for tests |
//!
//! None is on by default. Without them there are the domain, the contracts that a store or broker of your own implements,
//! and the engine that runs on them.
//!
//! # Enqueue in your own transaction
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn run(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use omni_box::postgres::{PgConfig, PgStore};
//! use omni_box::prelude::*;
//!
//! let outbox = PgStore::new(pool.clone(), PgConfig::default());
//! outbox.migrate().await?;
//!
//! let mut tx = pool.begin().await?;
//! sqlx::query("insert into users (email) values ('a@example.org')").execute(&mut *tx).await?;
//! let event = NewOutboxEvent::new("user.created", "users", &serde_json::json!({"email": "a@example.org"}));
//! outbox.enqueue(&mut tx, event.partition_key("a@example.org")).await?;
//! tx.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Events as types
//! A type says its event type, version, topic and key once; see [`EventSchema`].
//! ```
//! # #[cfg(feature = "macros")]
//! # async fn run<S: omni_box::store::OutboxRepository>(outbox: S) -> omni_box::Result<()> {
//! use omni_box::prelude::*;
//!
//! #[derive(serde::Serialize, EventSchema)]
//! #[event(type = "user.created", topic = "users", key = email)]
//! struct UserCreated {
//!     email: String,
//! }
//!
//! let mut tx = outbox.begin().await?;
//! outbox.enqueue(&mut tx, &UserCreated { email: "a@example.org".to_owned() }).await?;
//! outbox.commit(tx).await
//! # }
//! ```
//!
//! # Publish
//! ```no_run
//! # #[cfg(all(feature = "postgres", feature = "kafka"))]
//! # async fn run(outbox: omni_box::postgres::PgStore) -> Result<(), Box<dyn std::error::Error>> {
//! use omni_box::kafka::{KafkaEventPublisher, KafkaPublisherConfig};
//! use omni_box::prelude::*;
//! use tokio_util::sync::CancellationToken;
//!
//! let publisher =
//!     KafkaEventPublisher::from_config(KafkaPublisherConfig::new("127.0.0.1:9092"), EnvelopeEventConverter)?;
//! let shutdown = CancellationToken::new(); // cancel it on SIGTERM
//! OutboxRelay::builder(outbox, publisher).worker_id("relay-1").build()?.run(shutdown).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Consume
//! ```no_run
//! # #[cfg(all(feature = "postgres", feature = "kafka"))]
//! # async fn run(inbox: omni_box::postgres::PgStore) -> Result<(), Box<dyn std::error::Error>> {
//! use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
//! use omni_box::postgres::PgStore;
//! use omni_box::prelude::*;
//! use tokio_util::sync::CancellationToken;
//!
//! async fn on_user_created(mut cx: InboxContext<'_, PgStore>) -> Result<(), HandlerError> {
//!     sqlx::query("insert into welcome_mails (event_id) values ($1)")
//!         .bind(cx.event.id().to_string())
//!         .execute(cx.conn())
//!         .await?;
//!     Ok(())
//! }
//!
//! let consumer = KafkaEventConsumer::from_config(KafkaConsumerConfig::new("127.0.0.1:9092", "mailer", ["users"]))?;
//! let mut runner =
//!     InboxConsumerRunner::builder(consumer, inbox).handler(on("user.created", on_user_created)).build()?;
//! runner.run_forever(&CancellationToken::new()).await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(
    doctest,
    feature = "kafka-plaintext",
    feature = "macros",
    feature = "opentelemetry",
    feature = "postgres-plaintext",
    feature = "prometheus"
))]
mod book;

#[cfg(feature = "kafka-plaintext")]
pub mod kafka {
    //! Apache Kafka by rdkafka.
    #[doc(no_inline)]
    pub use omni_box_kafka::rdkafka;
    pub use omni_box_kafka::{
        DeliveryContext, KafkaConsumerConfig, KafkaEventConsumer, KafkaEventPublisher, KafkaProducer,
        KafkaPublisherConfig, RecordTime,
    };
}

#[cfg(feature = "postgres-plaintext")]
pub mod postgres {
    //! PostgreSQL by sqlx.
    #[doc(no_inline)]
    pub use omni_box_postgres::sqlx;
    pub use omni_box_postgres::{
        BeginHook, HookError, InboxContextExt, Listen, MigrationSql, PgConfig, PgConfigBuilder, PgStore,
        PgTx, SchemaDifference, Table,
    };
}

#[cfg(feature = "prometheus")]
pub mod prometheus {
    //! Metrics for Prometheus: their names are on the page of `omni-box-prometheus`.
    pub use omni_box_prometheus::{PrometheusMetrics, Sampler, prometheus};
}

#[cfg(feature = "opentelemetry")]
pub mod otel {
    //! Traces and metrics by OpenTelemetry.
    #[doc(no_inline)]
    pub use omni_box_otel::opentelemetry;
    pub use omni_box_otel::{
        ContextMode, OpenTelemetryStep, OtelMetrics, OtelSampler, TraceLayer, TracedPublisher, install,
        install_with_baggage,
    };
}

#[cfg(feature = "settings")]
pub mod settings {
    //! Settings from a TOML file, the environment and flags.
    pub use omni_box_settings::{
        Flags, KEYS, Key, Kind, RelayFromSettings, RunnerFromSettings, Secret, Settings, WorkerFromSettings,
        reference,
    };
}

#[cfg(feature = "sqlite")]
pub mod sqlite {
    //! SQLite by sqlx.
    #[doc(no_inline)]
    pub use omni_box_sqlite::sqlx;
    pub use omni_box_sqlite::{
        BeginHook, HookError, InboxContextExt, MigrationSql, SchemaDifference, SqliteConfig,
        SqliteConfigBuilder, SqliteStore, SqliteTx, Table,
    };
}

#[cfg(feature = "testkit")]
pub mod testkit {
    //! A store, a broker, a clock and faults in memory, and assertions: for tests of applications.
    pub use omni_box_testkit::*;
}

pub use omni_box_core::{broker, clock, event, handler, id, message, metrics, retry, store};

pub use omni_box_core::{
    BatchSize, ConsumerGroup, Created, EnvelopeEventConverter, Error, ErrorKind, Event, EventId, EventLimits,
    EventSchema, FailureClass, HandlerError, HandlerOutcome, InboxContext, InboxEvent, InboxExt,
    InboxHandler, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxExt, PermanentError,
    RawEventConverter, Result, RetryPolicy, State, Store, TransientError, WorkerId,
};
#[cfg(feature = "macros")]
pub use omni_box_macros::{EventSchema, event_handlers};
pub use omni_box_pipeline::{
    EventRouter, InboxConsumerRunner, InboxWorker, OmniBoxMaintenanceService, OutboxPublisher, OutboxRelay,
    Workers, on, shutdown_signal,
};
#[doc(no_inline)]
pub use tokio_util::sync::CancellationToken;

pub mod relay {
    //! Publishing: the relay, a publisher for one batch, and what they say of themselves.
    pub use omni_box_pipeline::{
        BatchProcessingResult, EventFailure, GateStatus, OutboxPublisher, OutboxPublisherBuilder,
        OutboxRelay, OutboxRelayBuilder, Outcome, RejectionPolicy, RelayConfig, RelaySnapshot, RelayStatus,
    };
}

pub mod inbox {
    //! Consuming: the runner, workers of stored messages, their settings, and what became of messages.
    pub use omni_box_pipeline::{
        AckStrategy, BatchProcessingResult, CommitOffsetPolicy, GateStatus, InboxConfig, InboxConsumeResult,
        InboxConsumerRunner, InboxConsumerRunnerBuilder, InboxSnapshot, InboxStatus, InboxWorker,
        InboxWorkerBuilder, InboxWorkerConfig, OnFailed, Outcome, SavepointPolicy,
    };
}

pub mod router {
    //! Handlers bound to the events that they are for.
    pub use omni_box_pipeline::{
        ANY_SOURCE, BatchLayer, EventHandlers, EventRouter, HandlerLayer, MethodFuture, Next, NextBatch,
        Routes, Unhandled, on, on_batch,
    };
}

pub mod pipeline {
    //! Steps in front of handlers and brokers, and pipelines that are built from them.
    pub use omni_box_pipeline::{
        BatchContext, CircuitBreakerStep, CommitStrategy, DlqStep, DlqStorage, DryRun, DryRunResult,
        EventProcessorBuilder, FetchStrategy, HandlerExecutionStep, InboxProcessorBuilder, InboxStep,
        MetricsStep, OutboxProcessorBuilder, OutboxProcessorOptions, OutboxStep, Outcome, ProcessingContext,
        ProcessingStep, ProcessorOptions, PublisherExecutionStep, SettledEvent, SharedBreaker,
        SiblingDeduplicationStep, StepOptions, StepResult, create_dispatching_processor,
        create_dispatching_processor_with, create_inbox_processor, create_inbox_processor_with,
        create_outbox_processor, create_outbox_processor_with,
    };
}

pub mod workers {
    //! Relays, runners and other tasks of one process, and how they are.
    pub use omni_box_pipeline::{Workers, WorkersStatus, shutdown_signal};
}

pub mod prelude {
    //! What most programs need.
    pub use crate::event::FetchFilters;
    pub use crate::handler::InboxBatch;
    pub use crate::inbox::{AckStrategy, CommitOffsetPolicy};
    pub use crate::router::{Unhandled, on_batch};
    pub use crate::store::{EventRepository, IntoOutboxEvent, OutboxRepository};
    pub use crate::{
        BatchSize, ConsumerGroup, Created, EnvelopeEventConverter, Event, EventRouter, EventSchema,
        HandlerError, HandlerOutcome, InboxConsumerRunner, InboxContext, InboxEvent, InboxExt, InboxHandler,
        InboxWorker, NewOutboxEvent, OmniBoxDomainService, OutboxEvent, OutboxExt, OutboxPublisher,
        OutboxRelay, RawEventConverter, State, Store, TransientError, WorkerId, Workers, on, shutdown_signal,
    };
}
