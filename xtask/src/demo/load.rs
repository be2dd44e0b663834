//! Customers who place orders by HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

const CUSTOMERS: u64 = 100;
const CONCURRENCY: u64 = 16;

/// Places orders, as many as it is allowed to; ends when this is dropped.
pub(super) struct Load {
    allowed: Arc<Semaphore>,
    tasks: JoinSet<Result<Vec<Uuid>>>,
    accepted: Vec<Uuid>,
}

#[derive(Deserialize)]
struct Placed {
    order_id: Uuid,
}

impl Load {
    /// Starts to place up to `orders` at the order service, of which none is allowed yet.
    pub(super) fn start(address: &str, orders: u64) -> Self {
        let allowed = Arc::new(Semaphore::new(0));
        let next = Arc::new(AtomicU64::new(0));
        let client = reqwest::Client::new();
        let url = format!("http://{address}/orders");
        let mut tasks = JoinSet::new();
        for _ in 0..CONCURRENCY {
            let (allowed, next, client, url) = (allowed.clone(), next.clone(), client.clone(), url.clone());
            tasks.spawn(async move {
                let mut accepted = Vec::new();
                loop {
                    let order = next.fetch_add(1, Ordering::Relaxed);
                    if order >= orders {
                        return Ok(accepted);
                    }
                    allowed.acquire().await?.forget();
                    accepted.push(place(&client, &url, order).await?);
                }
            });
        }
        Self { allowed, tasks, accepted: Vec::new() }
    }

    /// Allows some more.
    pub(super) fn allow(&self, orders: u64) {
        self.allowed.add_permits(usize::try_from(orders).unwrap_or(Semaphore::MAX_PERMITS));
    }

    /// Whether all are placed; the ids that the service answered with are in [`accepted`](Self::accepted) then.
    ///
    /// # Errors
    /// When an order was refused.
    pub(super) fn is_done(&mut self) -> Result<bool> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.accepted.extend(ended??);
        }
        Ok(self.tasks.is_empty())
    }

    /// The ids of all orders that the service said it has.
    pub(super) fn accepted(self) -> Vec<Uuid> {
        self.accepted
    }
}

async fn place(client: &reqwest::Client, url: &str, order: u64) -> Result<Uuid> {
    let body = json!({ "customer": format!("customer-{}", order % CUSTOMERS), "item": "book" });
    let answer = client.post(url).json(&body).send().await?.error_for_status()?;
    Ok(answer.json::<Placed>().await.context("the order service's answer names no order")?.order_id)
}
