//! A service under test: a database, a broker, a handler that writes effects, and a runner.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::{
    ConsumerGroup, Error, EventConsumer, HandlerError, HandlerOutcome, InboxContext, InboxHandler,
    InboxRepository, Jitter, Result, RetryPolicy,
};
use omni_box_harness::{TestDatabase, eventually, postgres};
use omni_box_pipeline::{InboxConsumerRunner, InboxConsumerRunnerBuilder};
use omni_box_postgres::{PgConfig, PgStore};
use omni_box_testkit::FaultPlan;
use sqlx::{AssertSqlSafe, PgConnection, PgPool};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::broker::Broker;
use super::faults::FaultyStore;

/// Time enough on a machine that is busy with other tests.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const GROUP: &str = "shipping";

/// What the handler does with one message, after it has written its effect.
pub(crate) type Act = Arc<
    dyn for<'a> Fn(
            &'a str,
            u32,
            &'a mut PgConnection,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = Result<HandlerOutcome, HandlerError>> + Send + 'a>,
        > + Send
        + Sync,
>;

/// Writes an effect, then acts.
#[derive(Clone)]
pub(crate) struct Effects {
    act: Act,
    /// How often the handler was called, by message id.
    pub(crate) calls: Arc<Mutex<HashMap<String, u32>>>,
}

impl Effects {
    pub(crate) fn new(
        act: impl for<'a> Fn(
            &'a str,
            u32,
            &'a mut PgConnection,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = Result<HandlerOutcome, HandlerError>> + Send + 'a>,
        > + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { act: Arc::new(act), calls: Arc::default() }
    }

    /// Succeeds always.
    pub(crate) fn plain() -> Self {
        Self::new(|_, _, _| Box::pin(async { Ok(HandlerOutcome::Completed) }))
    }

    pub(crate) fn calls(&self, id: &str) -> u32 {
        self.calls.lock().unwrap().get(id).copied().unwrap_or(0)
    }
}

#[async_trait]
impl InboxHandler<FaultyStore> for Effects {
    async fn handle(&self, mut cx: InboxContext<'_, FaultyStore>) -> Result<HandlerOutcome, HandlerError> {
        let id = cx.event.message_id();
        let call = {
            let mut calls = self.calls.lock().unwrap();
            let calls = calls.entry(id.to_owned()).or_default();
            *calls += 1;
            *calls
        };
        sqlx::query("insert into effects (message_id, key, worker) values ($1, $2, $3)")
            .bind(id)
            .bind(cx.event.partition_key())
            .bind(cx.worker_id.as_str())
            .execute(cx.conn())
            .await?;
        (self.act)(id, call, cx.conn()).await
    }
}

/// A database, a store and a broker.
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) store: FaultyStore,
    pub(crate) broker: Broker,
}

impl Service {
    /// `None` without a server.
    pub(crate) async fn new(partitions: i32) -> Option<Self> {
        postgres()?;
        let database = TestDatabase::create().await.unwrap();
        let store = PgStore::new(database.pool().clone(), PgConfig::default());
        store.migrate().await.unwrap();
        let service = Self {
            store: FaultyStore::new(store, &FaultPlan::new()),
            broker: Broker::new(partitions),
            database,
        };
        service
            .execute(
                "create table effects (seq bigserial primary key, message_id text, key text, worker text)",
            )
            .await;
        Some(service)
    }

    pub(crate) fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.pool()).await.unwrap();
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(self.pool()).await.unwrap()
    }

    /// Effects of a message.
    pub(crate) async fn effects(&self, id: &str) -> i64 {
        self.count(&format!("select count(*) from effects where message_id = '{id}'")).await
    }

    /// A message's status and counted attempts.
    pub(crate) async fn row(&self, id: &str) -> Option<(String, i32)> {
        sqlx::query_as("select status, attempts_made from inbox_events where message_id = $1")
            .bind(id)
            .fetch_optional(self.pool())
            .await
            .unwrap()
    }

    pub(crate) async fn status(&self, id: &str) -> Option<String> {
        self.row(id).await.map(|(status, _)| status)
    }

    pub(crate) async fn quarantined(&self) -> i64 {
        self.count("select count(*) from inbox_quarantine").await
    }

    /// A runner on the broker in memory.
    pub(crate) fn builder(&self) -> InboxConsumerRunnerBuilder<FaultyStore> {
        self.builder_on(self.broker.consumer(), ConsumerGroup::new(GROUP).unwrap())
    }

    /// A runner of a consumer of its own, with short delays.
    pub(crate) fn builder_on(
        &self,
        consumer: impl EventConsumer + 'static,
        group: ConsumerGroup,
    ) -> InboxConsumerRunnerBuilder<FaultyStore> {
        let retry =
            RetryPolicy::new(Duration::from_millis(5), Duration::from_millis(50), Jitter::Equal).unwrap();
        InboxConsumerRunner::builder(consumer, self.store.clone()).consumer_group(group).retry(retry)
    }

    pub(crate) fn run(&self, handler: &Effects) -> Running {
        Running::new(self.builder().handler(handler.clone()))
    }

    pub(crate) async fn drained(&self) {
        eventually(LONG, async || self.broker.is_drained()).await;
    }
}

/// A runner at work.
pub(crate) struct Running {
    cancel: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Running {
    pub(crate) fn new<S: InboxRepository>(builder: InboxConsumerRunnerBuilder<S>) -> Self {
        let mut runner = builder.build().unwrap();
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        Self { cancel, task: tokio::spawn(async move { runner.run_forever(&token).await }) }
    }

    /// Ends it in good order.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("stops in time").unwrap().unwrap();
    }

    /// Ends it as a killed process ends: nothing is acknowledged, nothing detached.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// An error of the handler's own.
pub(crate) fn broken() -> HandlerError {
    HandlerError::from(Error::new(omni_box_core::ErrorKind::Handler, "broken"))
}
