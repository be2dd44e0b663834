//! The thread on which the consumer is polled.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use omni_box_core::broker::Leaver;
use omni_box_core::{Error, ErrorKind, Result, Waiter};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::membership::Membership;

/// Longest sleep: whatever was missed is found after it.
const IDLE: Duration = Duration::from_millis(100);
/// How long the group's answer to a member that leaves is waited for.
const LEAVE: Duration = Duration::from_secs(5);

const RUN: u8 = 0;
const CLOSE: u8 = 1;
const ABANDON: u8 = 2;
const LEAVE_NOW: u8 = 3;

/// A running driver; dropping it abandons the partitions and leaves the group.
pub(super) struct Driver {
    membership: Arc<Membership>,
    order: Arc<AtomicU8>,
    /// Why the member is to leave at once.
    reason: Arc<Mutex<Option<Error>>>,
    closed: oneshot::Receiver<Result<()>>,
    /// The thread has ended, and the member has left.
    left: oneshot::Receiver<()>,
}

impl Driver {
    pub(super) fn start(consumer: BaseConsumer<Membership>) -> Result<Self> {
        let mut consumer = consumer;
        let membership = Arc::clone(consumer.context());
        let (wake, mut waiter) = (membership.wake.clone(), membership.wake.waiter());
        consumer.set_nonempty_callback(move || wake.wake());
        let consumer = Arc::new(consumer);
        membership.belongs_to(&consumer).map_err(no_thread)?;
        let order = Arc::new(AtomicU8::new(RUN));
        let reason = Arc::new(Mutex::new(None));
        let ((close, closed), (leave, left)) = (oneshot::channel(), oneshot::channel());
        let (its_membership, its_order) = (Arc::clone(&membership), Arc::clone(&order));
        let its_reason = Arc::clone(&reason);
        std::thread::Builder::new()
            .name("omni-box-kafka-consumer".to_owned())
            .spawn(move || {
                // a panic is a fault of ours; those that wait for partitions or messages must not wait without end
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    run(&consumer, &its_membership, &its_order, &mut waiter)
                }));
                if ran.is_err() {
                    its_membership.fail(panicked());
                }
                if let Some(reason) = its_reason.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    its_membership.fail(reason);
                }
                let closed = its_membership.close(&consumer);
                // the application may have dropped the consumer
                let _ = close.send(if ran.is_err() { Err(panicked()) } else { closed });
                // the last reference: leaves the group, and waits until that is done, a commit without an answer included
                drop(consumer);
                let _ = leave.send(());
            })
            .map_err(no_thread)?;
        Ok(Self { membership, order, reason, closed, left })
    }

    /// What makes the member leave at once.
    pub(super) fn leaver(&self) -> Leaver {
        let (membership, order) = (Arc::clone(&self.membership), Arc::clone(&self.order));
        let reason = Arc::clone(&self.reason);
        Box::new(move |error| {
            let mut why = reason.lock().unwrap_or_else(PoisonError::into_inner);
            // a consumer that is being closed leaves anyway
            if order.compare_exchange(RUN, LEAVE_NOW, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                *why = Some(error);
                membership.begin_closing();
                membership.wake.wake();
            }
        })
    }

    pub(super) async fn close(mut self) -> Result<()> {
        self.membership.begin_closing();
        self.order.store(CLOSE, Ordering::Release);
        self.membership.wake.wake();
        (&mut self.closed).await.unwrap_or_else(|_| Err(panicked()))?;
        if timeout(LEAVE, &mut self.left).await.is_err() {
            tracing::warn!(
                "kafka does not answer the member that leaves; its partitions go when its session ends"
            );
        }
        Ok(())
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

fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "thread cannot be started").with_source(error)
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
        let more = membership.take_events(consumer);
        if !membership.serve(consumer) && !more {
            waiter.wait_blocking(IDLE);
        }
    }
}
