//! Names that do not resolve: of a database and of a broker.

use omni_box_core::{ConsumerGroup, InboxContext, Jitter, RawEventConverter, RetryPolicy};
use omni_box_pipeline::{GateStatus, InboxConsumerRunner, on};
use omni_box_testkit::{MemoryBroker, NewMessage};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;
use crate::gate_log::GateLog;

/// No name server knows it, by its standard.
const UNKNOWN: &str = "no-such-host.invalid";
/// So long is waited for a name, which takes some tries.
const OUTAGE: Duration = Duration::from_millis(500);

/// A database whose name a test lets resolve, or not.
struct Named {
    database: TestDatabase,
    known: PgConnectOptions,
    /// What the worker has.
    pool: PgPool,
}

impl Named {
    /// `None` without a server.
    async fn unknown() -> Result<Option<Self>> {
        let Some(servers) = servers() else { return Ok(None) };
        let database = TestDatabase::create_on(&servers.database_url).await?;
        PgStore::new(database.pool().clone(), PgConfig::default()).migrate().await?;
        let known = PgConnectOptions::clone(&database.pool().connect_options());
        let pool = PgPoolOptions::new().connect_lazy_with(known.clone().host(UNKNOWN));
        Ok(Some(Self { database, known, pool }))
    }

    fn store(&self) -> PgStore {
        PgStore::new(self.pool.clone(), PgConfig::default())
    }

    fn resolve(&self) {
        self.pool.set_connect_options(self.known.clone());
    }

    /// From now on the name is unknown.
    fn forget(&self) {
        self.pool.set_connect_options(self.known.clone().host(UNKNOWN));
    }

    /// Ends the connections that there are; one that was being opened is there a moment later.
    async fn cut(&self) {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and pid <> pg_backend_pid()";
        sqlx::query(end).execute(self.database.pool()).await.expect("the test's own connections work");
    }
}

fn is_out(gates: &[GateStatus], name: &str) -> bool {
    let mut closed = gates.iter().filter(|gate| gate.name == name).filter_map(|gate| gate.closed_since);
    closed.next().is_some_and(|since| since.elapsed() > OUTAGE)
}

fn soon() -> RetryPolicy {
    RetryPolicy::new(Duration::from_millis(20), Duration::from_millis(100), Jitter::Equal).expect("a policy")
}

#[tokio::test]
async fn a_relay_waits_for_the_name_of_its_database_at_its_start() -> Result<()> {
    let Some(named) = Named::unknown().await? else { return Ok(()) };
    let (broker, log) = (MemoryBroker::new(), GateLog::listen());
    broker.create_topic("orders", 1);
    let relay = OutboxRelay::builder(named.store(), broker.publisher(RawEventConverter)).outage_retry(soon());
    let (relay, shutdown) = (relay.build()?, CancellationToken::new());
    let status = relay.status();
    let running = Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown };
    eventually(SOON, async || is_out(&status.now().gates, "database")).await;
    assert!(status.now().is_running && !status.now().is_ready());
    named.resolve();
    let mut tx = named.database.pool().begin().await?;
    let store = PgStore::new(named.database.pool().clone(), PgConfig::default());
    store.create(&mut tx, &event("orders", "key", 1)).await?;
    tx.commit().await?;
    eventually(SOON, async || broker.records("orders").len() == 1 && status.now().is_ready()).await;
    running.stop().await?;
    assert_eq!(log.lines(), GateLog::outage("database"), "it is told of once");
    named.database.close().await
}

async fn ship(_cx: InboxContext<'_, PgStore>) {}

#[tokio::test]
async fn a_runner_waits_for_the_name_of_its_database_at_its_start_and_later() -> Result<()> {
    let Some(named) = Named::unknown().await? else { return Ok(()) };
    let (broker, log) = (MemoryBroker::new(), GateLog::listen());
    broker.create_topic("orders", 1);
    let group = ConsumerGroup::new("shipping")?;
    let runner = InboxConsumerRunner::builder(broker.consumer(&group, ["orders"]), named.store())
        .handler(on("order.placed", ship))
        .build()?;
    let (status, shutdown) = (runner.status(), CancellationToken::new());
    let running = Running { task: tokio::spawn(runner.run(shutdown.clone())), shutdown };
    for handled in [1, 2] {
        broker.send(NewMessage::to("orders").key("k").header("event_type", "order.placed").value("{}"));
        eventually(SOON, async || {
            named.cut().await;
            is_out(&status.now().gates, "database")
        })
        .await;
        assert!(!status.now().is_ready());
        assert_eq!(broker.lag(&group, "orders"), 1, "nothing is acknowledged that was not handled");
        named.resolve();
        eventually(2 * SOON, async || broker.lag(&group, "orders") == 0 && status.now().is_ready()).await;
        let completed: i64 = sqlx::query_scalar(
            "select count(*) from inbox_events where status = 'completed' and attempts_made = 0",
        )
        .fetch_one(named.database.pool())
        .await?;
        assert_eq!(completed, handled);
        if handled == 1 {
            named.forget();
        }
    }
    running.stop().await?;
    let outage = GateLog::outage("database");
    assert_eq!(log.lines(), [outage.clone(), outage].concat(), "each outage is told of once");
    named.database.close().await
}

/// librdkafka asks for the names of brokers by itself, again and again: one that resolves is enough.
#[tokio::test]
async fn a_relay_waits_for_a_name_of_a_broker() -> Result<()> {
    let Some(world) = World::new().await? else { return Ok(()) };
    let log = GateLog::listen();
    let relay = |brokers: &str| -> Result<_> {
        let config = KafkaPublisherConfig::new(brokers);
        let publisher = KafkaEventPublisher::from_config(config, EnvelopeEventConverter)?;
        Ok(OutboxRelay::builder(world.store.clone(), publisher).outage_retry(soon()).build()?)
    };
    world.enqueue(&(0..3).map(|number| world.event("key", number)).collect::<Vec<_>>()).await?;
    let unknown = format!("{UNKNOWN}:9092");
    let waiting = relay(&unknown)?;
    let status = waiting.status();
    let running = world.run(waiting);
    eventually(SOON, async || is_out(&status.now().gates, "broker")).await;
    assert!(status.now().is_running && !status.now().is_ready());
    assert_eq!(world.count("status = 'pending' and attempts_made = 0 and not held").await, 3);
    running.stop().await?;
    assert_eq!(log.lines(), ["broker: unavailable, waiting"], "it is told of once");

    let running = world.run(relay(&format!("{unknown},{}", world.servers.kafka_brokers))?);
    world.drained().await;
    running.stop().await?;
    let (published, repeats) = world.published().await?;
    assert_eq!((published["key"].len(), repeats), (3, 0));
    world.close().await
}
