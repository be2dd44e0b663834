//! How events are sent.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::error::Result;
use crate::event::OutboxEvent;
use crate::id::EventId;

/// What a publisher keeps in order while several sends are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOrder {
    /// Events submitted in order arrive in order, however many are in flight: a failure that is not one event's own fails
    /// everything behind it too.
    Ordered,
    /// Nothing: the engine keeps at most one event per `(topic, partition_key)` in flight.
    OnePerKey,
}

/// The fate of one submitted event.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeliveryReport {
    /// Which event.
    pub id: EventId,
    /// `Ok`: the broker has it durably. `Err`: the error's [`class`](crate::Error::class) says what is done about it.
    pub result: Result<()>,
    /// Where the broker put it, if it says so. For traces.
    pub placed: Option<Placed>,
}

impl DeliveryReport {
    /// A report of a broker that does not say where a message is.
    pub fn new(id: EventId, result: Result<()>) -> Self {
        Self { id, result, placed: None }
    }
}

/// Where a broker has put a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The partition of its topic.
    pub partition: i32,
    /// The place in the partition.
    pub offset: i64,
}

/// Where a publisher reports the fate of events. Cloning is cheap.
#[derive(Clone)]
pub struct Reporter {
    reports: mpsc::UnboundedSender<DeliveryReport>,
    looks: Option<Arc<Look>>,
}

type Look = dyn Fn(&DeliveryReport) + Send + Sync;

impl Reporter {
    /// A reporter and the end where its reports come out.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<DeliveryReport>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self { reports: sender, looks: None }, receiver)
    }

    /// A reporter to the same place that shows each report to a function before: for a publisher around another one.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// use omni_box_core::{EventId, Reporter};
    ///
    /// let (reporter, mut reports) = Reporter::channel();
    /// let delivered = Arc::new(AtomicUsize::new(0));
    /// let count = delivered.clone();
    /// let counting = reporter.inspect(move |report| {
    ///     count.fetch_add(usize::from(report.result.is_ok()), Ordering::Relaxed);
    /// });
    /// counting.report(EventId::generate(), Ok(()));
    /// assert_eq!(delivered.load(Ordering::Relaxed), 1);
    /// assert!(reports.try_recv().is_ok());
    /// ```
    #[must_use]
    pub fn inspect(&self, look: impl Fn(&DeliveryReport) + Send + Sync + 'static) -> Self {
        let before = self.looks.clone();
        let looks = move |report: &DeliveryReport| {
            look(report);
            if let Some(before) = &before {
                before(report);
            }
        };
        Self { reports: self.reports.clone(), looks: Some(Arc::new(looks)) }
    }

    /// Reports one event. A report is dropped once its receiver is gone.
    pub fn report(&self, id: EventId, result: Result<()>) {
        self.pass(DeliveryReport::new(id, result));
    }

    /// Reports an event that the broker has, and where it is.
    pub fn delivered(&self, id: EventId, placed: Placed) {
        self.pass(DeliveryReport { placed: Some(placed), ..DeliveryReport::new(id, Ok(())) });
    }

    /// Reports what another publisher has reported.
    pub fn pass(&self, report: DeliveryReport) {
        if let Some(looks) = &self.looks {
            looks(&report);
        }
        // the receiver is gone once the engine has stopped: the next relay publishes the event again
        let _ = self.reports.send(report);
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

/// Sends events to a broker.
#[async_trait]
pub trait EventPublisher: Send + Sync + 'static {
    /// Says what order it keeps.
    fn send_order(&self) -> SendOrder {
        SendOrder::OnePerKey
    }

    /// The name by which the broker knows this client, where there is one. For traces.
    fn client_id(&self) -> Option<&str> {
        None
    }

    /// Takes events in order and reports each exactly once.
    ///
    /// - Returns when all are taken, not when they are delivered; calls are made one after the other.
    /// - A full queue is waited for and is not an error.
    /// - Success is reported only for what the broker has durably.
    /// - After an error that is not one event's own ([`FailureClass::Infrastructure`](crate::FailureClass::Infrastructure) and not
    ///   [`TopicUnavailable`](crate::ErrorKind::TopicUnavailable)), everything not yet delivered is reported with that class too. Nothing
    ///   of it is sent later.
    /// - Waiting for a broker that is down is not an error: the engine decides how long, and calls [`purge`](Self::purge).
    ///
    /// # Cancel safety
    /// When the future is dropped, some of the events may be sent without a report.
    async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter);

    /// Gives up everything in flight: reports it as [`Unavailable`](crate::ErrorKind::Unavailable) or, if the answer came in
    /// time, with its result; afterwards nothing of it is sent. Ready for new events when it returns.
    async fn purge(&self);

    /// Asks the broker whether it can be used.
    ///
    /// # Errors
    /// While it cannot. The relay waits and asks again, unless waiting cannot help: [`Fatal`](crate::ErrorKind::Fatal) and errors of
    /// permanent class end it.
    async fn check(&self) -> Result<()>;
}

/// A publisher behind a pointer, so that a program can choose one when it runs.
macro_rules! publisher_behind_pointer {
    ($($pointer:ident),*) => {$(
        #[async_trait]
        impl<P: EventPublisher + ?Sized> EventPublisher for $pointer<P> {
            fn send_order(&self) -> SendOrder {
                P::send_order(self)
            }

            fn client_id(&self) -> Option<&str> {
                P::client_id(self)
            }

            async fn submit(&self, events: Vec<Arc<OutboxEvent>>, reporter: &Reporter) {
                P::submit(self, events, reporter).await;
            }

            async fn purge(&self) {
                P::purge(self).await;
            }

            async fn check(&self) -> Result<()> {
                P::check(self).await
            }
        }
    )*};
}

publisher_behind_pointer!(Arc, Box);
