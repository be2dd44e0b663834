//! The relay in mode `rows`.

use std::pin::pin;
use std::time::Duration;

use omni_box_core::{Error, ErrorKind, FailureClass, FetchFilters, OutboxRepository, Result};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::publisher::{OutboxPublisher, Stop};
use super::verdict::ends_relay;
use super::wakeup::wait;
use crate::deadline::FAREWELL;
use crate::gate::Gate;
use crate::polling::Polling;

/// Publishes one batch after the other until `shutdown` is cancelled, and waits for the last within the drain deadline.
pub(super) async fn run<S: OutboxRepository>(
    outbox: OutboxPublisher<S>,
    mut database: Gate,
    shutdown: CancellationToken,
) -> Result<()> {
    let OutboxPublisher { store, publisher, settings, status, .. } = &outbox;
    let mut broker = Gate::new("broker", settings.outage_retry);
    let mut polling = Polling::new(settings.shortest_poll, settings.longest_poll, Instant::now());
    let (worker, batch_size) = (settings.worker_id.clone(), settings.batch_size);
    let mut wakeup = store.wakeup();
    let drain_deadline = settings.drain_deadline;
    let everything = FetchFilters::default();
    let give_up = CancellationToken::new();
    let stop = Stop { sending: &shutdown, waiting: &give_up };
    status.update(|status| status.gates = vec![database.status(), broker.status()]);
    while !shutdown.is_cancelled() {
        let mut publishing = pin!(outbox.publish(&worker, batch_size, &everything, stop));
        let published = tokio::select! {
            published = &mut publishing => published,
            () = passed(&shutdown, drain_deadline) => {
                give_up.cancel();
                timeout(FAREWELL, publishing).await.unwrap_or_else(|_| {
                    tracing::warn!(worker_id = %worker, "claims could not be given back in time, they will expire");
                    Ok(Default::default())
                })
            }
        };
        let now = Instant::now();
        // a wake-up ends the wait for events, never the wait for a broker or a database
        let has_progress = matches!(&published, Ok((batch, _)) if batch.has_progress());
        let (delay, is_woken) = match published {
            Ok(_) if shutdown.is_cancelled() => break,
            Ok((batch, unavailable)) => {
                database.open();
                if batch.is_empty() || !batch.processed_event_ids.is_empty() {
                    broker.open();
                }
                if batch.released_event_ids.is_empty() {
                    let found = batch.recorded();
                    polling.fetched(found, found > 0, now);
                    (polling.next().saturating_duration_since(now), polling.is_quiet())
                } else {
                    let reason = match publisher.0.check().await {
                        Err(error) if ends_relay(&error) => return Err(error),
                        Err(error) => error,
                        Ok(()) => unavailable.unwrap_or_else(claims_lost),
                    };
                    (broker.close(&reason), false)
                }
            }
            Err(error) if error.class() == FailureClass::Permanent => return Err(error),
            Err(error) => (database.close(&error), false),
        };
        status.update(|status| {
            status.gates = vec![database.status(), broker.status()];
            status.in_flight = 0;
            if has_progress {
                status.last_progress = Some(now);
            }
        });
        tokio::select! {
            () = sleep(delay) => {}
            () = wait(&mut wakeup), if is_woken => {}
            () = shutdown.cancelled() => {}
        }
    }
    Ok(())
}

/// Resolves when a deadline has passed since `shutdown` was cancelled.
async fn passed(shutdown: &CancellationToken, deadline: Duration) {
    shutdown.cancelled().await;
    sleep(deadline).await;
}

fn claims_lost() -> Error {
    Error::new(ErrorKind::LeaseLost, "claims were lost before their events were marked")
}
