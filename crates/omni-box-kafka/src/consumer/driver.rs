//! The thread on which the consumer is polled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, Result, Waiter};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use tokio::sync::oneshot;

use super::membership::Membership;

/// Longest sleep: whatever was missed is found after it.
const IDLE: Duration = Duration::from_millis(100);
/// Events (rebalances, errors, log lines) taken before messages have their turn.
const EVENTS: usize = 64;

const RUN: u8 = 0;
const CLOSE: u8 = 1;
const ABANDON: u8 = 2;

/// A running driver; dropping it abandons the partitions and leaves the group.
pub(super) struct Driver {
    membership: Arc<Membership>,
    order: Arc<AtomicU8>,
    ended: oneshot::Receiver<Result<()>>,
}

impl Driver {
    pub(super) fn start(consumer: BaseConsumer<Membership>) -> Result<Self> {
        let mut consumer = consumer;
        let membership = Arc::clone(consumer.context());
        let (wake, mut waiter) = (membership.wake.clone(), membership.wake.waiter());
        consumer.set_nonempty_callback(move || wake.wake());
        let consumer = Arc::new(consumer);
        membership.belongs_to(&consumer);
        let order = Arc::new(AtomicU8::new(RUN));
        let (end, ended) = oneshot::channel();
        let (its_membership, its_order) = (Arc::clone(&membership), Arc::clone(&order));
        std::thread::Builder::new()
            .name("omni-box-kafka-consumer".to_owned())
            .spawn(move || {
                // a panic is a fault of ours; whoever waits for partitions or messages must not wait for ever
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    run(&consumer, &its_membership, &its_order, &mut waiter)
                }));
                if ran.is_err() {
                    its_membership.fail(panicked());
                }
                let closed = its_membership.close(&consumer);
                let closed = if ran.is_err() { Err(panicked()) } else { closed };
                // the last reference: leaves the group, and waits until that is done
                drop(consumer);
                let _ = end.send(closed);
            })
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "thread cannot be started").with_source(error)
            })?;
        Ok(Self { membership, order, ended })
    }

    pub(super) async fn close(mut self) -> Result<()> {
        self.membership.begin_closing();
        self.order.store(CLOSE, Ordering::Release);
        self.membership.wake.wake();
        (&mut self.ended).await.unwrap_or_else(|_| Err(panicked()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.membership.begin_closing();
        if self.order.compare_exchange(RUN, ABANDON, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.membership.wake.wake();
        }
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::Internal, "consumer's thread panicked")
}

fn run(consumer: &BaseConsumer<Membership>, membership: &Membership, order: &AtomicU8, waiter: &mut Waiter) {
    loop {
        match order.load(Ordering::Acquire) {
            RUN => {}
            ABANDON => return membership.abandon(),
            _ => return,
        }
        let more = take_events(consumer, membership);
        if !membership.serve(consumer) && !more {
            waiter.wait_blocking(IDLE);
        }
    }
}

/// Takes what waits in the consumer's own queue; says whether there may be more.
///
/// The queue rings only when it was empty before, so whoever leaves something in it must come again unasked: a rebalance behind a
/// hundred log lines would wait for seconds otherwise. A poll that took an event returns the same as one that found none; the
/// context tells them apart.
fn take_events(consumer: &BaseConsumer<Membership>, membership: &Membership) -> bool {
    for _ in 0..EVENTS {
        let before = membership.events();
        match consumer.poll(Duration::ZERO) {
            None if membership.events() == before => return false,
            None => {}
            Some(Err(error)) => membership.trouble(&error),
            Some(Ok(message)) => {
                // cannot be while partitions have queues of their own; fetched again rather than skipped
                let at = Offset::Offset(message.offset());
                if let Err(error) = consumer.seek(message.topic(), message.partition(), at, Duration::ZERO) {
                    tracing::error!(%error, "message arrived outside its partition's queue");
                }
            }
        }
    }
    true
}
