//! A consumer whose handler journals what it did, and misbehaves on request.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use clap::Args;
use omni_box::event::Attempt;
use omni_box::inbox::{AckStrategy, CommitOffsetPolicy};
use omni_box::kafka::{KafkaConsumerConfig, KafkaEventConsumer};
use omni_box::postgres::PgStore;
use omni_box::store::EventRepository as _;
use omni_box::{
    Event as _, HandlerError, HandlerOutcome, InboxConsumerRunner, InboxContext, InboxHandler,
    NewOutboxEvent, OmniBoxDomainService, RetryPolicy,
};
use omni_box_harness::judge::journal::{self, Intent};
use omni_box_testkit::{FaultPlan, Faulty, Operation};
use serde::Deserialize;

use crate::servers::{Servers, shutdown};
use crate::stand::{self, Place, Stand, named};

/// What the handler does.
#[derive(Args)]
pub(crate) struct HandlerArgs {
    /// Topic of the event that the handler adds for every message.
    #[arg(long)]
    emit: Option<String>,
    /// How long the handler takes for a message.
    #[arg(long, default_value_t = 0)]
    slow_ms: u64,
    /// How long the handler spends inside a query for a message.
    #[arg(long, default_value_t = 0)]
    query_ms: u64,
    /// How many times the handler fails each message first, after its writes.
    #[arg(long, default_value_t = 0)]
    fail_times: u32,
    /// How many of a hundred messages the handler puts off when it sees them first.
    #[arg(long, default_value_t = 0)]
    put_off_percent: u32,
    /// Handle messages that ask to be put off.
    #[arg(long)]
    accept: bool,
    /// How long the handler may take.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) handler_timeout_ms: u64,
    /// The longest pause before a message is tried again.
    #[arg(long, default_value_t = 30_000)]
    retry_cap_ms: u64,
}

impl HandlerArgs {
    pub(crate) fn retry(&self) -> RetryPolicy {
        RetryPolicy::default().at_most(Duration::from_secs(1), Duration::from_millis(self.retry_cap_ms))
    }
}

#[derive(Args)]
pub(crate) struct ConsumerArgs {
    /// Topics to consume.
    #[arg(long, required = true)]
    topic: Vec<String>,
    /// The consumer group.
    #[arg(long)]
    group: String,
    #[command(flatten)]
    handler: HandlerArgs,
    /// Messages are stored and acknowledged, and handled by workers.
    #[arg(long)]
    store_only: bool,
    /// What is promised about a message's effect.
    #[arg(long, value_parser = strategy, default_value = "ExactlyOnceInbox")]
    strategy: AckStrategy,
    /// When a message's offset is committed.
    #[arg(long, value_parser = policy, default_value = "OnSuccess")]
    policy: CommitOffsetPolicy,
    /// The transaction of the inbox that is never committed: the program prints `frozen` and its work stands still.
    #[arg(long)]
    freeze_before: Option<u64>,
    /// The transaction of the inbox after whose commit the program prints `frozen` and its work stands still.
    #[arg(long)]
    freeze_after: Option<u64>,
    /// librdkafka properties, `name=value`.
    #[arg(long)]
    property: Vec<String>,
}

fn strategy(name: &str) -> Result<AckStrategy, String> {
    use AckStrategy::{AtLeastOnce, AtMostOnce, ExactlyOnceInbox};
    named(name, [AtMostOnce, AtLeastOnce, ExactlyOnceInbox])
}

fn policy(name: &str) -> Result<CommitOffsetPolicy, String> {
    named(name, [CommitOffsetPolicy::OnPersist, CommitOffsetPolicy::OnSuccess])
}

pub(crate) async fn run(servers: &Servers, args: ConsumerArgs) -> Result<()> {
    let shutdown = shutdown()?;
    let mut config = KafkaConsumerConfig::new(&servers.brokers, &args.group, &args.topic);
    for property in &args.property {
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        config = config.property(name, value);
    }
    let consumer = KafkaEventConsumer::from_config(config)?;
    let plan = FaultPlan::new();
    if let Some(number) = args.freeze_before {
        plan.on(Operation::Commit).nth(number).freeze_before();
    }
    if let Some(number) = args.freeze_after {
        plan.on(Operation::Commit).nth(number).freeze_after();
    }
    let runner = InboxConsumerRunner::builder(consumer, Faulty::new(servers.store(5)?, &plan))
        .worker_id(servers.worker_id()?)
        .ack_strategy(args.strategy)
        .commit_offset_policy(args.policy)
        .retry(args.handler.retry())
        .process_timeout(Duration::from_millis(args.handler.handler_timeout_ms));
    let runner =
        if args.store_only { runner } else { runner.handler(Handler::new(&args.handler, Stand::default())) };
    let mut runner = runner.build()?;
    stand::tell(&plan);
    println!("ready");
    runner.run_forever(&shutdown).await?;
    println!("done");
    Ok(())
}

/// What a message may ask of its handler.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    /// End the process.
    Abort,
    /// Be put off, until a consumer comes that accepts it.
    PutOff,
    /// Panic.
    Panic,
    /// Block the thread for longer than the handler may take.
    Block,
    /// End the transaction that is not the handler's own.
    RollBack,
    /// Fail.
    Fail,
}

#[derive(Deserialize)]
struct Body {
    act: Option<Act>,
}

pub(crate) struct Handler {
    emit: Option<String>,
    slow: Duration,
    query: Duration,
    fail_times: u32,
    put_off_percent: u32,
    accept: bool,
    timeout: Duration,
    stand: Stand,
    seen: Mutex<HashMap<String, u32>>,
    domain: OmniBoxDomainService,
}

impl Handler {
    pub(crate) fn new(args: &HandlerArgs, stand: Stand) -> Self {
        Self {
            emit: args.emit.clone(),
            slow: Duration::from_millis(args.slow_ms),
            query: Duration::from_millis(args.query_ms),
            fail_times: args.fail_times,
            put_off_percent: args.put_off_percent,
            accept: args.accept,
            timeout: Duration::from_millis(args.handler_timeout_ms),
            stand,
            seen: Mutex::default(),
            domain: OmniBoxDomainService::default(),
        }
    }

    /// How often this process has seen a message, this time included.
    fn times_seen(&self, message_id: &str) -> u32 {
        let mut seen = self.seen.lock().expect("no handler panics while it holds the lock");
        let times = seen.entry(message_id.to_owned()).or_default();
        *times += 1;
        *times
    }
}

fn put_off() -> HandlerOutcome {
    // long enough for others of its key to arrive, and to be waiting when the process is killed
    HandlerOutcome::retry("put off", Attempt::Free, Duration::from_secs(1))
}

#[async_trait]
impl InboxHandler<Faulty<PgStore>> for Handler {
    async fn handle(
        &self,
        mut cx: InboxContext<'_, Faulty<PgStore>>,
    ) -> Result<HandlerOutcome, HandlerError> {
        let event = cx.event;
        let added = match &self.emit {
            Some(topic) => {
                let body = serde_json::json!({ "cause": event.message_id() });
                let added = NewOutboxEvent::new("chaos.handled", topic, &body);
                let key = event.partition_key().unwrap_or("none");
                Some(self.domain.create_outbox_event(added.partition_key(key))?)
            }
            None => None,
        };
        let added_id = added.as_ref().map(|added| added.id().as_uuid());
        journal::effect(cx.conn(), event.message_id(), event.consumer_group().as_str(), added_id).await?;
        if let Some(added) = &added {
            let intent = Intent {
                event_id: added.id().as_uuid(),
                topic: added.topic().to_owned(),
                partition_key: added.partition_key().map(str::to_owned),
            };
            journal::intend(cx.conn(), &[intent]).await?;
            cx.store.create(cx.conn(), added).await?;
        }
        match event.payload().deserialize().ok().and_then(|body: Body| body.act) {
            Some(Act::Abort) => std::process::abort(),
            Some(Act::PutOff) if !self.accept => return Ok(put_off()),
            Some(Act::Panic) => panic!("asked to panic"),
            Some(Act::Block) => {
                std::thread::sleep(self.timeout + Duration::from_secs(1));
                return Err(std::io::Error::other("asked to block").into());
            }
            Some(Act::RollBack) => {
                sqlx::raw_sql("rollback").execute(cx.conn()).await?;
            }
            Some(Act::Fail) => {
                self.stand.pass(Place::Handler, false).await;
                return Err(std::io::Error::other("asked to fail").into());
            }
            Some(Act::PutOff) | None => {}
        }
        if !self.query.is_zero() {
            sqlx::query("select pg_sleep($1)").bind(self.query.as_secs_f64()).execute(cx.conn()).await?;
        }
        tokio::time::sleep(self.slow).await;
        let times = self.times_seen(event.message_id());
        if times == 1 && fastrand::u32(..100) < self.put_off_percent {
            return Ok(put_off());
        }
        if times <= self.fail_times {
            return Err(std::io::Error::other("asked to fail").into());
        }
        Ok(HandlerOutcome::Completed)
    }
}
