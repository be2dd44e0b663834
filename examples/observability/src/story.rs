//! Places an order, and shows what is seen of it from outside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use opentelemetry_sdk::trace::SpanData;

use crate::shop::{Order, Shop};
use crate::telemetry::Telemetry;

/// How long an order may take until it is shipped and on the page of metrics.
const PATIENCE: Duration = Duration::from_secs(60);

/// Series of one order.
const SERIES: [&str; 2] = [
    r#"outbox_events_published_total{event_type="order.placed",status="published"} 1"#,
    r#"inbox_events_processed_total{event_type="order.placed",status="completed"} 1"#,
];

pub(crate) async fn tell<S: Shop>(
    store: &S,
    address: SocketAddr,
    topic: &str,
    telemetry: &Telemetry,
) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let order = client.post(format!("http://{address}/orders")).json(&Order { number: 7 });
    order.send().await?.error_for_status()?;

    let names: Vec<String> =
        ["create", "wait", "send", "process"].map(|operation| format!("{operation} {topic}")).into();
    let names: Vec<&str> =
        ["POST /orders"].into_iter().chain(names.iter().map(String::as_str)).chain(["ship"]).collect();
    let seen = async {
        loop {
            let spans = telemetry.spans()?;
            let page = client.get(format!("http://{address}/metrics")).send().await?.text().await?;
            let is_counted = SERIES.iter().all(|series| page.lines().any(|line| line == *series));
            if is_counted && names.iter().all(|name| find(&spans, name).is_some()) {
                return anyhow::Ok(spans);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let spans = tokio::time::timeout(PATIENCE, seen).await.context("the order is not shipped in time")??;
    let request = find(&spans, names[0]).context("the request has a span")?.span_context.trace_id();
    println!("trace {request}");
    for name in names {
        let span = find(&spans, name).context("each span has ended")?;
        ensure!(span.span_context.trace_id() == request, "{name} belongs to another trace");
        println!("  {name}");
    }
    SERIES.iter().for_each(|series| println!("{series}"));
    let mut tx = store.begin().await?;
    println!("shipments {}", S::shipments(&mut tx).await?);
    Ok(())
}

fn find<'a>(spans: &'a [SpanData], name: &str) -> Option<&'a SpanData> {
    spans.iter().find(|span| span.name == name)
}
