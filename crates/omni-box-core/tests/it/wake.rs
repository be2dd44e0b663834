//! A call of a wake reaches every waiter, and none is lost.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use omni_box_core::{Waiter, Wake, Wakeup};

const LONG: Duration = Duration::from_secs(60);

/// Whether a wait would return now.
async fn is_called(waiter: &mut Waiter) -> bool {
    let mut wait = pin!(waiter.wait());
    poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_ready())).await
}

#[tokio::test]
async fn each_waiter_gets_each_call_and_several_as_one() {
    let wake = Wake::new();
    let (mut first, mut second) = (wake.waiter(), wake.clone().waiter());
    assert!(!is_called(&mut first).await);
    wake.wake();
    wake.waker().wake_by_ref();
    assert!(is_called(&mut first).await && !is_called(&mut first).await);
    assert!(second.wait_blocking(Duration::ZERO) && !second.wait_blocking(Duration::ZERO));
    assert!(!is_called(&mut wake.waiter()).await, "a call before it was made");
}

#[tokio::test]
async fn a_call_wakes_a_task_that_waits() {
    let wake = Wake::new();
    let mut waiter = wake.waiter();
    let mut wait = pin!(waiter.wait());
    let is_first = poll_fn(|context| Poll::Ready(wait.as_mut().poll(context).is_pending())).await;
    assert!(is_first, "nothing was called yet");
    let call = std::thread::spawn(move || wake.wake());
    tokio::time::timeout(LONG, wait).await.unwrap();
    call.join().unwrap();
}

#[test]
fn a_call_wakes_a_thread_that_waits() {
    let wake = Wake::new();
    let mut waiter = wake.waiter();
    let call = std::thread::spawn(move || wake.waker().wake());
    assert!(waiter.wait_blocking(LONG));
    call.join().unwrap();
}

#[tokio::test]
async fn a_call_during_a_dropped_wait_is_kept() {
    let wake = Wake::new();
    let mut waiter = wake.waiter();
    assert!(!is_called(&mut waiter).await);
    wake.wake();
    assert!(is_called(&mut waiter).await);
}
