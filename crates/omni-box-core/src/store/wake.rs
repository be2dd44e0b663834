//! Wakes tasks and threads that wait for something to do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::Wakeup;

/// Wakes every [`Waiter`] that it has given out. Cloning shares it.
///
/// - A call that comes while a waiter does not wait is kept: its next wait returns at once.
/// - Several calls between two waits count as one.
/// - A waiter is a task ([`Wakeup::wait`]) or a thread ([`Waiter::wait_blocking`]).
///
/// ```
/// use std::time::Duration;
///
/// use omni_box_core::{Wake, Wakeup};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let wake = Wake::new();
/// let mut waiter = wake.waiter();
///
/// wake.wake();
/// wake.wake();
/// waiter.wait().await;
/// assert!(!waiter.wait_blocking(Duration::ZERO), "both calls were one");
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<u64>,
    threads: Condvar,
    tasks: Notify,
}

impl Wake {
    /// A wake without waiters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes all waiters. Never blocks on one of them.
    pub fn wake(&self) {
        self.0.call();
    }

    /// A waiter for the calls from now on.
    pub fn waiter(&self) -> Waiter {
        Waiter { seen: *self.0.calls(), shared: Arc::clone(&self.0) }
    }

    /// A waker that wakes all waiters: for a thread that polls a future between other things.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, u64> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) {
        *self.calls() += 1;
        self.threads.notify_all();
        self.tasks.notify_waiters();
    }
}

impl std::task::Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.call();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call();
    }
}

/// Waits for the calls of a [`Wake`].
#[derive(Debug)]
pub struct Waiter {
    shared: Arc<Shared>,
    /// How many calls there were when the last wait ended.
    seen: u64,
}

impl Waiter {
    /// Blocks the thread until a call came since the last wait, or until the time has passed; `true` if a call came.
    pub fn wait_blocking(&mut self, at_most: Duration) -> bool {
        let seen = self.seen;
        let calls = self.shared.calls();
        let waited = self.shared.threads.wait_timeout_while(calls, at_most, |calls| *calls == seen);
        self.seen = *waited.unwrap_or_else(PoisonError::into_inner).0;
        self.seen != seen
    }

    fn take_call(&mut self) -> bool {
        let seen = std::mem::replace(&mut self.seen, *self.shared.calls());
        self.seen != seen
    }
}

#[async_trait]
impl Wakeup for Waiter {
    async fn wait(&mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            // made before the look: a call in between completes it
            let called = shared.tasks.notified();
            if self.take_call() {
                return;
            }
            called.await;
        }
    }
}
