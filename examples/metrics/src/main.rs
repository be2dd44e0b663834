//! A service whose metrics are on `GET /metrics`, and whose probes are `GET /live` and `GET /ready`: `cargo run -p metrics`. A relay, an inbox and a sampler share one registry, on a SQLite file
//! and a broker inside the process. It scrapes itself, shows a part of the page and ends; with `--stay` it goes on until Ctrl-C.

mod page;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Router, serve};
use clap::Parser;
use omni_box::prelude::{
    ConsumerGroup, EnvelopeEventConverter, InboxConsumerRunner, InboxContext, NewOutboxEvent, OutboxExt,
    OutboxRelay, Store, Workers, on,
};
use omni_box::prometheus::PrometheusMetrics;
use omni_box::prometheus::prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use omni_box::sqlite::{SqliteConfig, SqliteStore};
use omni_box::{CancellationToken, shutdown_signal};
use omni_box_testkit::MemoryBroker;
use tokio::net::TcpListener;

use crate::page::Page;

const ORDERS: u32 = 3;
/// How long everything may take until it is on the page.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves omni-box's metrics, and scrapes them.
#[derive(Parser)]
struct Args {
    /// Where the page is served; a free port by default.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Goes on until Ctrl-C or SIGTERM.
    #[arg(long)]
    stay: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();

    let directory = tempfile::tempdir()?;
    let store = SqliteStore::open(directory.path().join("shop.db"), SqliteConfig::default()).await?;
    store.migrate().await?;
    let broker = MemoryBroker::new();
    broker.create_topic("orders", 1);
    enqueue(&store).await?;

    let registry = Registry::new();
    let metrics = PrometheusMetrics::new(&registry)?;
    let relay = OutboxRelay::builder(store.clone(), broker.publisher(EnvelopeEventConverter));
    let consumer = broker.consumer(&ConsumerGroup::new("shipping")?, ["orders"]);
    let inbox = InboxConsumerRunner::builder(consumer, store.clone()).handler(on("order.placed", ship));
    let sampler = metrics.sampler(store)?.interval(Duration::from_secs(1));

    let listener = TcpListener::bind(args.listen).await.with_context(|| args.listen.to_string())?;
    let address = listener.local_addr()?;
    let workers = Workers::new()
        .relay(relay.metrics(metrics.clone()).build()?)
        .inbox(inbox.metrics(metrics).build()?)
        .task("samples", |stop| sampler.run(stop));
    let (live, ready) = (workers.status(), workers.status());
    let app = Router::new()
        .route("/metrics", get(scrape))
        .route("/live", get(async move || probe(live.is_running())))
        .route("/ready", get(async move || probe(ready.is_ready())))
        .with_state(registry);
    let workers = workers.task("http", async move |stop: CancellationToken| {
        serve(listener, app).with_graceful_shutdown(stop.cancelled_owned()).await
    });
    let mut shown = Ok(());
    let story = async {
        shown = show(address).await;
        if args.stay && shown.is_ok() {
            println!("serving http://{address}/metrics");
            shutdown_signal().await;
        }
    };
    workers.run_until(story).await?;
    shown
}

async fn enqueue(store: &SqliteStore) -> omni_box::Result<()> {
    let mut tx = store.begin().await?;
    for order in 1..=ORDERS {
        let event = NewOutboxEvent::new("order.placed", "orders", &serde_json::json!({ "order": order }));
        store.enqueue(&mut tx, event.partition_key(order.to_string())).await?;
    }
    store.commit(tx).await
}

async fn ship(_: InboxContext<'_, SqliteStore>) {}

fn probe(is_well: bool) -> StatusCode {
    if is_well { StatusCode::NO_CONTENT } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// What a Prometheus server asks for.
async fn scrape(State(registry): State<Registry>) -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(page) => (StatusCode::OK, [(header::CONTENT_TYPE, TEXT_FORMAT)], page),
        Err(error) => {
            let kind = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string())
        }
    }
}

/// Scrapes until all orders are shipped and a sample says that nothing is left, then shows a part of the page.
async fn show(address: SocketAddr) -> anyhow::Result<()> {
    let shipped = async {
        loop {
            let page = Page::get(address).await?;
            let is_done = page.value("inbox_messages_processed_total") == Some(f64::from(ORDERS))
                && page.value("outbox_backlog_events") == Some(0.0)
                && page.value("inbox_in_flight_messages") == Some(0.0);
            if is_done {
                return anyhow::Ok(page);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let page =
        tokio::time::timeout(PATIENCE, shipped).await.context("the orders are not shipped in time")??;
    for series in [
        r#"outbox_events_published_total{event_type="order.placed",status="published"}"#,
        r#"outbox_publish_delay_seconds_count{topic="orders"}"#,
        "outbox_owned_lanes",
        "outbox_oldest_due_age_seconds",
        "outbox_failed_events",
        r#"inbox_events_processed_total{event_type="order.placed",status="completed"}"#,
        r#"inbox_delivery_delay_seconds_count{topic="orders"}"#,
        "inbox_assigned_partitions",
        r#"inbox_watermark_age_seconds{consumer_group="shipping",topic="orders"}"#,
    ] {
        let value = page.value(series);
        ensure!(value.is_some(), "{series} is not on the page");
        println!("{series} {}", value.unwrap_or_default());
    }
    for probe in ["live", "ready"] {
        let answer = reqwest::get(format!("http://{address}/{probe}")).await?;
        ensure!(answer.status().is_success(), "the probe {probe} says {}", answer.status());
        println!("/{probe} {}", answer.status().as_u16());
    }
    Ok(())
}
