//! Customers who place orders by HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use uuid::Uuid;

const CUSTOMERS: u64 = 100;
const CONCURRENCY: u64 = 16;

/// Places orders, as many as it is allowed to; ends when this is dropped.
pub(super) struct Load {
    allowed: Arc<Semaphore>,
    tasks: JoinSet<Result<()>>,
    accepted: mpsc::UnboundedReceiver<Uuid>,
}

#[derive(Deserialize)]
struct Placed {
    order_id: Uuid,
}

impl Load {
    /// Starts to place up to `orders` at the order service, of which none is allowed yet.
    pub(super) fn start(address: &str, orders: u64) -> Result<Self> {
        let allowed = Arc::new(Semaphore::new(0));
        let next = Arc::new(AtomicU64::new(0));
        // The service is on this machine, whatever proxy the environment names.
        let client = reqwest::Client::builder().no_proxy().build()?;
        let (sender, accepted) = mpsc::unbounded_channel();
        let url = format!("http://{address}/orders");
        let mut tasks = JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (allowed, next, sender) = (allowed.clone(), next.clone(), sender.clone());
            let (client, url) = (client.clone(), url.clone());
            tasks.spawn(async move {
                loop {
                    let order = next.fetch_add(1, Ordering::Relaxed);
                    if order >= orders {
                        return Ok(());
                    }
                    allowed.acquire().await?.forget();
                    sender.send(place(&client, &url, order).await?)?;
                }
            });
        }
        Ok(Self { allowed, tasks, accepted })
    }

    /// Allows some more.
    pub(super) fn allow(&self, orders: u64) {
        self.allowed.add_permits(usize::try_from(orders).unwrap_or(Semaphore::MAX_PERMITS));
    }

    /// Whether all are placed.
    ///
    /// # Errors
    /// When an order was refused.
    pub(super) fn is_done(&mut self) -> Result<bool> {
        while let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        Ok(self.tasks.is_empty())
    }

    /// Places no more; returns the ids of all orders that the service said it has.
    pub(super) async fn end(mut self) -> Vec<Uuid> {
        self.tasks.shutdown().await;
        let mut all = Vec::new();
        while let Ok(order) = self.accepted.try_recv() {
            all.push(order);
        }
        all
    }
}

async fn place(client: &reqwest::Client, url: &str, order: u64) -> Result<Uuid> {
    let body = json!({ "customer": format!("customer-{}", order % CUSTOMERS), "item": "book" });
    let answer = client.post(url).json(&body).send().await?.error_for_status()?;
    Ok(answer.json::<Placed>().await.context("the order service's answer names no order")?.order_id)
}
