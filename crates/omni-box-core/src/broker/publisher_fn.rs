//! A publisher from a function.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::publisher::{EventPublisher, Reporter, SendOrder};
use crate::error::{Error, ErrorKind, FailureClass, Result};
use crate::event::{Event, OutboxEvent};
use crate::id::EventId;

/// How many calls run at a time unless the program says otherwise.
const CONCURRENCY: usize = 32;

/// A publisher from an async function that sends one event.
///
/// - `Ok` means that the broker has the event durably. The [class](Error::class) of an error says what is done about it, as for every
///   publisher; a panic fails its own event.
/// - At most one event of each key is on its way at a time ([`SendOrder::OnePerKey`]), and 32 in all: see
///   [`concurrency`](PublisherFn::concurrency).
/// - The future is dropped when the relay gives the event up, which it does after its own deadline.
///
/// Calls run as tasks of tokio's runtime.
///
/// ```
/// use std::sync::Arc;
///
/// use omni_box_core::{Error, ErrorKind, Event, OutboxEvent, publisher_fn};
///
/// # async fn post(url: String, body: String) -> std::io::Result<()> { Ok(()) }
/// let webhook = publisher_fn(|event: Arc<OutboxEvent>| async move {
///     let sent = post(format!("https://shop.test/{}", event.topic()), event.payload().as_str().to_owned()).await;
///     sent.map_err(|error| Error::new(ErrorKind::Unavailable, "the shop does not answer").with_source(error))
/// });
/// # let _ = webhook;
/// ```
pub fn publisher_fn<F, Fut>(publish: F) -> PublisherFn<F>
where
    F: Fn(Arc<OutboxEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    PublisherFn {
        publish: Arc::new(publish),
        check: None,
        slots: Arc::new(Semaphore::new(CONCURRENCY)),
        flight: Arc::default(),
    }
}

type Check = dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync;

/// What [`publisher_fn`] returns. Dropped, it gives up what is on its way without a report.
pub struct PublisherFn<F> {
    publish: Arc<F>,
    check: Option<Box<Check>>,
    slots: Arc<Semaphore>,
    flight: Arc<Flight>,
}

impl<F> PublisherFn<F> {
    /// How many calls may run at a time, at least 1.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.slots = Arc::new(Semaphore::new(calls.clamp(1, Semaphore::MAX_PERMITS)));
        self
    }

    /// Asks the broker whether it can be used: [`EventPublisher::check`]. Without it the relay finds out by the next event.
    #[must_use]
    pub fn check_by<C, Fut>(mut self, check: C) -> Self
    where
        C: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.check = Some(Box::new(move || check().boxed()));
        self
    }
}

/// Events on their way.
#[derive(Default)]
struct Flight {
    state: Mutex<State>,
    /// Kept while events are given up: who finds nothing on its way waits for their reports.
    giving_up: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    on_their_way: HashMap<EventId, OnItsWay>,
    /// An event failed for a reason that is not its own. Nothing more is sent until the relay has taken notice.
    is_down: bool,
}

struct OnItsWay {
    reporter: Reporter,
    task: JoinHandle<()>,
}

impl Flight {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports what became of an event, unless it was given up meanwhile.
    async fn finish(&self, id: EventId, result: Result<()>) {
        let is_own = result.as_ref().err().is_none_or(is_events_own);
        let reporter = {
            let mut state = self.state();
            let Some(OnItsWay { reporter, .. }) = state.on_their_way.remove(&id) else { return };
            state.is_down |= !is_own;
            reporter
        };
        reporter.report(id, result);
        if !is_own {
            self.give_up("an event before this one was not delivered").await;
        }
    }

    async fn give_up(&self, why: &'static str) {
        let _giving_up = self.giving_up.lock().await;
        let given_up: Vec<_> = self.state().on_their_way.drain().collect();
        given_up.iter().for_each(|(_, event)| event.task.abort());
        for (id, OnItsWay { reporter, task }) in given_up {
            // reported when it cannot be sent any more
            let _ = task.await;
            reporter.report(id, Err(unavailable(why)));
        }
    }
}

fn is_events_own(error: &Error) -> bool {
    error.class() != FailureClass::Infrastructure || error.kind() == ErrorKind::TopicUnavailable
}

fn unavailable(why: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, why)
}

#[async_trait]
impl<F, Fut> EventPublisher for PublisherFn<F>
where
    F: Fn(Arc<OutboxEvent>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    fn send_order(&self) -> SendOrder {
        SendOrder::OnePerKey
    }

    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
        for event in events {
            let id = event.id();
            let mut state = self.flight.state();
            if state.is_down {
                reporter.report(id, Err(unavailable("an event before this one was not delivered")));
                continue;
            }
            let (publish, slots) = (Arc::clone(&self.publish), Arc::clone(&self.slots));
            let flight = Arc::clone(&self.flight);
            let task = tokio::spawn(async move {
                let call = async {
                    // the slots are never closed
                    let _slot = slots.acquire().await;
                    publish(event).await
                };
                let panicked = || Error::new(ErrorKind::Rejected, "the function that publishes panicked");
                let result = AssertUnwindSafe(call).catch_unwind().await;
                flight.finish(id, result.unwrap_or_else(|_panic| Err(panicked()))).await;
            });
            state.on_their_way.insert(id, OnItsWay { reporter: reporter.clone(), task });
        }
    }

    async fn purge(&self) {
        self.flight.give_up("given up before it was delivered").await;
        self.flight.state().is_down = false;
    }

    async fn check(&self) -> Result<()> {
        if let Some(check) = &self.check {
            check().await?;
        }
        self.flight.state().is_down = false;
        Ok(())
    }
}

impl<F> Drop for PublisherFn<F> {
    fn drop(&mut self) {
        self.flight.state().on_their_way.drain().for_each(|(_, event)| event.task.abort());
    }
}

impl<F> fmt::Debug for PublisherFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublisherFn")
    }
}
