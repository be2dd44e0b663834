//! The publisher: one signed POST per event.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use omni_box_core::{
    Encoded, Error, ErrorKind, Event as _, EventConverter, EventPublisher, FailureClass, OutboxEvent,
    Reporter, Result, SendOrder,
};
use reqwest::{Client, Method, StatusCode, Url, redirect};
use tokio::sync::Semaphore;

use crate::Signer;

/// Where events go, and how.
#[derive(Debug)]
pub struct WebhookConfig {
    /// Events of a topic are posted to `{endpoint}/{topic}`.
    pub endpoint: Url,
    /// Signs the requests.
    pub signer: Signer,
    /// How long an answer may take. A receiver that refuses what is older gets nothing that was given up here.
    pub timeout: Duration,
    /// How many requests may be under way, at least 1.
    pub concurrency: u32,
}

/// Posts events to a webhook.
#[derive(Debug)]
pub struct WebhookPublisher {
    webhook: Arc<Webhook>,
    /// One for each request that may be under way.
    slots: Arc<Semaphore>,
    concurrency: u32,
}

struct Webhook {
    client: Client,
    endpoint: Url,
    signer: Signer,
    converter: Box<dyn EventConverter>,
    /// An event was not delivered for a reason that is not its own; nothing more is sent until the engine has taken notice.
    is_down: AtomicBool,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.endpoint.host_str()).finish_non_exhaustive()
    }
}

impl WebhookPublisher {
    /// A publisher that sends what `converter` makes of an event.
    ///
    /// # Errors
    /// [`Misconfigured`](ErrorKind::Misconfigured) when the endpoint cannot have paths, no request may be under way, or there is no HTTP client.
    pub fn new(config: WebhookConfig, converter: impl EventConverter) -> Result<Self> {
        let WebhookConfig { endpoint, signer, timeout, concurrency } = config;
        if endpoint.cannot_be_a_base() || concurrency == 0 {
            let message =
                "a webhook needs an endpoint such as https://host/path and a concurrency of at least 1";
            return Err(Error::new(ErrorKind::Misconfigured, message));
        }
        // a redirected POST becomes a GET without the event
        let client = Client::builder().timeout(timeout).redirect(redirect::Policy::none()).build();
        let client = client.map_err(|error| {
            Error::new(ErrorKind::Misconfigured, "no HTTP client can be made").with_source(error)
        })?;
        let is_down = AtomicBool::new(false);
        let webhook = Webhook { client, endpoint, signer, converter: Box::new(converter), is_down };
        let slots = Arc::new(Semaphore::new(concurrency as usize));
        Ok(Self { webhook: Arc::new(webhook), slots, concurrency })
    }
}

#[async_trait]
impl EventPublisher for WebhookPublisher {
    fn send_order(&self) -> SendOrder {
        SendOrder::OnePerKey
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        for event in events {
            // the semaphore is never closed
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else { return };
            let (webhook, reporter) = (Arc::clone(&self.webhook), reporter.clone());
            tokio::spawn(async move {
                reporter.report(event.id(), webhook.publish(&event).await);
                drop(slot);
            });
        }
    }

    /// Waits for the answers that are still to come, at most for the timeout: a request that was sent cannot be called back.
    async fn purge(&self) {
        self.webhook.is_down.store(true, Ordering::SeqCst);
        let _everything_is_reported = self.slots.acquire_many(self.concurrency).await;
        self.webhook.is_down.store(false, Ordering::SeqCst);
    }

    async fn check(&self) -> Result<()> {
        self.webhook.check().await?;
        self.webhook.is_down.store(false, Ordering::SeqCst);
        Ok(())
    }
}

impl Webhook {
    async fn publish(&self, event: &OutboxEvent) -> Result<()> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "the event was given up before it was sent"));
        }
        let published = self.post(event).await;
        if let Err(error) = &published
            && error.class() == FailureClass::Infrastructure
            && error.kind() != ErrorKind::TopicUnavailable
        {
            self.is_down.store(true, Ordering::SeqCst);
        }
        published
    }

    async fn post(&self, event: &OutboxEvent) -> Result<()> {
        let body = Encoded::of(event, &*self.converter)?.body.map(Cow::into_owned).unwrap_or_default();
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(event.topic());
        }
        let failure = match self.send(Method::POST, url, &event.id().to_string(), body).await {
            Ok(status) if status.is_success() => return Ok(()),
            Ok(status) => Error::new(kind_of(status), format!("the webhook answered {status}")),
            Err(error) => error,
        };
        // no answer, or "something went wrong": the event's own failure, if the receiver is well otherwise
        if matches!(failure.kind(), ErrorKind::Timeout | ErrorKind::Handler) {
            self.check().await?;
        }
        Err(failure)
    }

    /// Any answer will do that is not a complaint: whether the address knows a HEAD does not matter.
    async fn check(&self) -> Result<()> {
        let answer = self.send(Method::HEAD, self.endpoint.clone(), "check", Vec::new()).await;
        let status = answer.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the webhook cannot be used").with_source(error)
        })?;
        let kind = match kind_of(status) {
            ErrorKind::Unauthorized => ErrorKind::Unauthorized,
            ErrorKind::Unavailable | ErrorKind::Handler if !status.is_success() => ErrorKind::Unavailable,
            _ => return Ok(()),
        };
        Err(Error::new(kind, format!("the webhook answered {status} to a check")))
    }

    async fn send(&self, method: Method, url: Url, id: &str, body: Vec<u8>) -> Result<StatusCode> {
        let timestamp = Utc::now().timestamp();
        let request = self.client.request(method, url).header("content-type", "application/json");
        let request = request.header("webhook-id", id).header("webhook-timestamp", timestamp);
        let request = request.header("webhook-signature", self.signer.sign(id, timestamp, &body));
        let answer = request.body(body).send().await;
        answer.map(|answer| answer.status()).map_err(|error| {
            let timed_out = error.is_timeout() && !error.is_connect();
            let kind = if timed_out { ErrorKind::Timeout } else { ErrorKind::Unavailable };
            // the address may hold credentials
            Error::new(kind, "the webhook did not answer").with_source(error.without_url())
        })
    }
}

/// What an answer other than success means to the relay, which retries.
fn kind_of(status: StatusCode) -> ErrorKind {
    match status.as_u16() {
        401 | 403 => ErrorKind::Unauthorized,
        300..=399 | 404 | 410 => ErrorKind::TopicUnavailable,
        408 => ErrorKind::Timeout,
        413 => ErrorKind::TooLarge,
        429 | 502..=504 => ErrorKind::Unavailable,
        400..=499 => ErrorKind::Rejected,
        _ => ErrorKind::Handler,
    }
}
