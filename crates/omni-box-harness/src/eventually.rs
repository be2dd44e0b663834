//! Waiting for a condition instead of sleeping.

use std::panic::Location;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `condition` gives true.
///
/// # Panics
/// When that has not happened after `within`; the message names the caller's line.
#[track_caller]
pub fn eventually<C>(within: Duration, condition: C) -> impl Future<Output = ()>
where
    C: AsyncFnMut() -> bool,
{
    wait(within, condition, Location::caller())
}

async fn wait<C>(within: Duration, mut condition: C, caller: &'static Location<'static>)
where
    C: AsyncFnMut() -> bool,
{
    let deadline = Instant::now() + within;
    loop {
        // A condition that hangs must not outlive the deadline either.
        let left = deadline.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, condition()).await {
            Ok(true) => return,
            Ok(false) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Ok(false) => panic!("{caller}: the condition was still false after {within:?}"),
            Err(_) => panic!("{caller}: the condition was still being evaluated after {within:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_when_the_condition_holds() {
        let mut calls = 0;
        eventually(Duration::from_secs(5), async || {
            calls += 1;
            calls == 3
        })
        .await;
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "eventually.rs")]
    async fn names_the_line_that_waited() {
        eventually(Duration::from_millis(30), || async { false }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "still being evaluated")]
    async fn ends_a_condition_that_hangs() {
        eventually(Duration::from_millis(30), std::future::pending).await;
    }
}
