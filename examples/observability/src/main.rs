//! One trace from an HTTP request to the handler of its event: `cargo run -p observability`.
//!
//! `POST /orders` enqueues, a relay publishes, a handler inserts. The program places an order, shows the spans of its trace and a part of
//! `GET /metrics`, and ends; with `--stay` it goes on until Ctrl-C. Logs are lines of JSON on standard error. It uses a SQLite file and a broker
//! inside the process, or real servers by `--database-url` and `--brokers`, and sends its spans to a collector by `--otlp`.

mod broker;
mod http;
mod shop;
mod story;
mod telemetry;

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use omni_box::prometheus::PrometheusMetrics;
use omni_box::prometheus::prometheus::Registry;
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use tokio::net::TcpListener;

use crate::broker::Broker;
use crate::shop::{Shop, ship};
use crate::telemetry::Telemetry;

/// Shows one trace from an HTTP request to the handler of its event.
#[derive(Parser)]
struct Args {
    /// Where HTTP is served; a free port by default.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A PostgreSQL database: postgres://..
    #[arg(long, value_name = "URL", requires = "brokers")]
    database_url: Option<String>,
    /// A Kafka, as host:port, several by commas.
    #[arg(long, value_name = "LIST", requires = "database_url")]
    brokers: Option<String>,
    /// The topic of orders.
    #[arg(long, default_value = "orders")]
    topic: String,
    /// A collector of traces by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// Goes on until Ctrl-C or SIGTERM.
    #[arg(long)]
    stay: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let telemetry = Telemetry::start(args.otlp.as_deref())?;
    let outcome = match &args.database_url {
        Some(url) => {
            let pool = sqlx::PgPool::connect(url).await.context("PostgreSQL cannot be reached")?;
            let store = PgStore::new(pool, PgConfig::default());
            store.migrate().await?;
            run(store, &args, &telemetry).await
        }
        None => {
            let directory = tempfile::tempdir()?;
            let file = directory.path().join("shop.db");
            let store = SqliteStore::open(file, SqliteConfig::default()).await?;
            store.migrate().await?;
            run(store, &args, &telemetry).await
        }
    };
    telemetry.end().await?;
    outcome
}

async fn run<S: Shop>(store: S, args: &Args, telemetry: &Telemetry) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    S::create_table(&mut tx).await?;
    store.commit(tx).await?;

    let registry = Registry::new();
    let metrics = PrometheusMetrics::new(&registry)?;
    let broker = Broker::new(args.brokers.as_deref(), &args.topic);
    let relay = OutboxRelay::builder(store.clone(), telemetry.traced(broker.publisher()?));
    let router = EventRouter::new().on(&args.topic, "order.placed", ship::<S>);
    let inbox = InboxConsumerRunner::builder(broker.consumer()?, store.clone())
        .handler(router.layer(omni_box::otel::TraceLayer::new()));

    let listener = TcpListener::bind(args.listen).await.with_context(|| args.listen.to_string())?;
    let address = listener.local_addr()?;
    let app = http::routes(store.clone(), args.topic.clone(), registry);
    let http = async move |stop: omni_box::CancellationToken| {
        axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
    };
    let workers = Workers::new()
        .relay(relay.metrics(metrics.clone()).build()?)
        .inbox(inbox.metrics(metrics).build()?)
        .task("http", http);
    let mut told = Ok(());
    let story = async {
        told = story::tell(&store, address, &args.topic, telemetry).await;
        if args.stay && told.is_ok() {
            println!("serving http://{address}/metrics");
            shutdown_signal().await;
        }
    };
    workers.run_until(story).await?;
    told
}
