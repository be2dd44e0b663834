//! What tests of an application say about it.

use std::collections::HashSet;
use std::fmt::{Debug, Write as _};
use std::time::Duration;

use omni_box_core::{
    Event, EventFn, EventId, HandlerOutcome, InboxContext, InboxEvent, InboxRepository, InboxSettlement,
    OutboxEvent, Received, WorkerId,
};
use serde::Serialize;
use serde_json::Value;

use crate::EnqueuedEvents;

/// What a test expects of an event. Only what was said is compared.
#[derive(Clone)]
#[must_use = "pass it to `assert_enqueued`"]
pub struct ExpectedEvent {
    event_type: String,
    topic: Option<String>,
    key: Option<String>,
    payload: Option<Value>,
    headers: Vec<(String, String)>,
}

impl ExpectedEvent {
    /// An event of a type.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), topic: None, key: None, payload: None, headers: Vec::new() }
    }

    /// Its topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = Some(topic.into());
        self
    }

    /// Its partition key.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Its payload, compared as JSON: the order of members and white space do not matter.
    ///
    /// # Panics
    /// When the payload is not JSON.
    pub fn payload<T: Serialize + ?Sized>(mut self, payload: &T) -> Self {
        self.payload = Some(serde_json::to_value(payload).expect("the expected payload is JSON"));
        self
    }

    /// A header it has, among others.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Where an event differs; `None` if it does not.
    fn difference(&self, event: &OutboxEvent) -> Option<String> {
        let texts = [
            ("event type", Some(self.event_type.as_str()), Some(event.event_type())),
            ("topic", self.topic.as_deref(), Some(event.topic())),
            ("key", self.key.as_deref(), event.partition_key()),
        ];
        for (what, expected, enqueued) in texts {
            if expected.is_some() && expected != enqueued {
                return Some(differs(what, &expected.unwrap_or_default(), &enqueued));
            }
        }
        for (name, value) in &self.headers {
            let enqueued = event.content().headers.get(name);
            if enqueued != Some(value) {
                return Some(differs(&format!("header {name:?}"), value, &enqueued));
            }
        }
        let enqueued: Value = event.payload().deserialize().unwrap_or_default();
        let expected = self.payload.as_ref().filter(|expected| **expected != enqueued)?;
        Some(format!("payload: {expected} was expected, {enqueued} was enqueued"))
    }
}

fn differs(what: &str, expected: &dyn Debug, enqueued: &Option<&str>) -> String {
    match enqueued {
        Some(enqueued) => format!("{what}: {expected:?} was expected, {enqueued:?} was enqueued"),
        None => format!("{what}: {expected:?} was expected, it has none"),
    }
}

impl Debug for ExpectedEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let topic = self.topic.as_deref().unwrap_or("any topic");
        write!(f, "{} to {topic}, key {}", self.event_type, self.key.as_deref().unwrap_or("any"))
    }
}

/// Runs something that ends its transactions, and checks that it has enqueued exactly these events, in this order. Returns what it
/// returned.
///
/// The outbox is a [`MemoryStore`](crate::MemoryStore), or that of any store by [`OutboxById`](crate::OutboxById). Nothing else may enqueue in it
/// meanwhile, or delete from it.
///
/// # Panics
/// When other events were enqueued, or fewer, or more, or when the store fails. The text shows the payloads of the test.
///
/// ```
/// use omni_box_core::*;
/// use omni_box_testkit::{ExpectedEvent, MemoryStore, assert_enqueued};
/// use serde_json::json;
///
/// // what is tested
/// async fn place_order(store: &MemoryStore, id: u32) -> Result<()> {
///     let mut tx = store.begin().await?;
///     tx.insert("orders", &id.to_string(), &id).await?;
///     let event = NewOutboxEvent::new("order.placed", "orders", &json!({"order": id})).partition_key(id.to_string());
///     store.enqueue(&mut tx, event).await?;
///     store.commit(tx).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let store = MemoryStore::new();
/// let expected = ExpectedEvent::new("order.placed").topic("orders").key("7").payload(&json!({"order": 7}));
/// assert_enqueued(&store, place_order(&store, 7), &[expected]).await?;
/// // the second is refused by the application, and is not reported
/// assert_enqueued(&store, place_order(&store, 7), &[]).await.expect_err("there is an order 7");
/// # Ok(())
/// # }
/// ```
pub async fn assert_enqueued<T>(
    outbox: &impl EnqueuedEvents,
    work: impl Future<Output = T>,
    expected: &[ExpectedEvent],
) -> T {
    let before = outbox.enqueued().await.expect("the store lists its events");
    let before: HashSet<EventId> = before.iter().map(Event::id).collect();
    let result = work.await;
    let mut enqueued = outbox.enqueued().await.expect("the store lists its events");
    enqueued.retain(|event| !before.contains(&event.id()));
    let mut complaints = String::new();
    for (n, pair) in expected.iter().zip(&enqueued).enumerate() {
        if let Some(difference) = pair.0.difference(pair.1) {
            let _ = write!(complaints, "\n  event {}: {difference}", n + 1);
        }
    }
    for missing in expected.iter().skip(enqueued.len()) {
        let _ = write!(complaints, "\n  missing: {missing:?}");
    }
    for surplus in enqueued.iter().skip(expected.len()) {
        let key = surplus.partition_key().unwrap_or("none");
        let _ = write!(
            complaints,
            "\n  not expected: {} to {}, key {key}",
            surplus.event_type(),
            surplus.topic()
        );
    }
    assert!(
        complaints.is_empty(),
        "{} events were enqueued, {} were expected:{complaints}",
        enqueued.len(),
        expected.len()
    );
    result
}

/// Handles a message as the engine does, and checks that it has one effect, however often it comes:
///
/// 1. handled in a transaction that is rolled back, it has none: nothing is done outside of the transaction;
/// 2. handled in one that commits, it has one;
/// 3. delivered again, it has no other.
///
/// The handler is a function, as a router takes it, or an `InboxHandler`. `state` reads what the handler changes, in transactions of its own. Works with every store.
///
/// # Panics
/// When one of these does not hold, when the handler does not succeed, or when the store fails.
///
/// ```
/// use omni_box_core::*;
/// use omni_box_testkit::{MemoryStore, assert_one_effect};
/// use serde_json::json;
///
/// // what is tested
/// async fn ship(mut cx: InboxContext<'_, MemoryStore>) -> Result<(), HandlerError> {
///     let shipped: u32 = cx.conn().get("totals", "shipped")?.unwrap_or(0);
///     cx.conn().put("totals", "shipped", &(shipped + 1)).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let store = MemoryStore::new();
/// let content = EventContent::new("order.placed", Payload::new(&json!({"order": 7}))?);
/// let message = NewInboxEvent::new("message-1", ConsumerGroup::new("shipping")?, "shop", content);
/// let message = OmniBoxDomainService::default().create_inbox_event(message)?;
/// assert_one_effect(&store, &ship, &message, async || store.scan::<u32>("totals").expect("rows")).await;
/// # Ok(())
/// # }
/// ```
pub async fn assert_one_effect<M, S, T>(
    store: &S,
    handler: &impl EventFn<M, S>,
    message: &InboxEvent,
    state: impl AsyncFn() -> T,
) where
    S: InboxRepository,
    T: PartialEq + Debug,
{
    let before = state().await;
    deliver(store, handler, message, Ending::RollBack).await;
    let after = state().await;
    assert!(
        after == before,
        "the handler has done something outside of its transaction: it was rolled back, and the effect stays\n before: {before:?}\n after:  {after:?}"
    );
    deliver(store, handler, message, Ending::Commit).await;
    let once = state().await;
    assert!(once != before, "the handler had no effect that `state` sees\n before and after: {before:?}");
    deliver(store, handler, message, Ending::Commit).await;
    let twice = state().await;
    assert!(
        twice == once,
        "the message had a second effect when it came again\n once:  {once:?}\n twice: {twice:?}"
    );
}

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Commit,
    RollBack,
}

/// How long a handler may take.
const HANDLING: Duration = Duration::from_secs(60);

/// Delivers a message once, unless it took effect before.
async fn deliver<M, S: InboxRepository>(
    store: &S,
    handler: &impl EventFn<M, S>,
    message: &InboxEvent,
    ending: Ending,
) {
    let mut tx = store.begin_handling(HANDLING).await.expect("the store begins a transaction");
    let received = store.receive(&mut tx, std::slice::from_ref(message)).await;
    let event = match received.expect("the store receives a message").into_iter().next() {
        Some(Received::New) => Some(message.clone()),
        Some(Received::Pending { event, .. }) => Some(event),
        Some(Received::Completed(_)) => None,
        other => panic!("the store was to be without this message before, and has {other:?}"),
    };
    if let Some(event) = event {
        let worker_id = WorkerId::new("test").expect("a valid name");
        let cx = InboxContext::new(&event, &mut *tx, store, &worker_id);
        let handled = match handler.decode(&event) {
            Ok(payload) => handler.call(cx, payload, &()).await,
            Err(error) => Err(error),
        };
        match handled {
            Ok(HandlerOutcome::Completed | HandlerOutcome::Skipped | HandlerOutcome::Stale) => {}
            Ok(HandlerOutcome::Retry { reason, .. }) => {
                panic!("the handler wants to be tried again: {reason}")
            }
            Err(error) => {
                let error = error.into_error(|error| store.classify(error));
                panic!("the handler failed: {}", error.chain());
            }
        }
        let settlement = InboxSettlement { completed: vec![event.id()], failures: Vec::new() };
        store.settle(&mut tx, &settlement).await.expect("the store settles a message");
    }
    match ending {
        Ending::Commit => store.commit(tx).await.expect("the store commits"),
        Ending::RollBack => store.rollback(tx).await.expect("the store rolls back"),
    }
}
