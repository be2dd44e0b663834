//! Feeds storages outside from failed rows: what has no copy is found by its row, whatever ended a process before.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::select_all;
use omni_box_core::store::DeadLetters;
use omni_box_core::{
    Backoff, BatchSize, Error, ErrorKind, Event, EventRepository, FetchFilters, Result, RetryPolicy, WorkerId,
};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::deadline::within;
use crate::step::{Feed, ProcessingStep};

/// How many failed events are read at once, and how many copies may be made again after a crash.
const PAGE: u32 = 50;
/// How long the store or a storage may take for one call.
const CALL: Duration = Duration::from_secs(30);
/// How often it is looked at least.
const LONGEST_REST: Duration = Duration::from_secs(30);
/// So many events in a row are refused by a storage that is away.
const REFUSALS: usize = 5;
/// How long a worker whose calls are its user's copies at the beginning of one.
const TURN: Duration = Duration::from_secs(10);

/// What a worker's steps want copied.
pub(crate) struct Copies<S, E> {
    store: S,
    feeds: Vec<Feed<E>>,
    filters: FetchFilters,
    worker: WorkerId,
    page: BatchSize,
    turn: Mutex<Turn<E>>,
}

struct Turn<E> {
    /// The last event that was refused: the next turn begins behind it, so that it stands in no other's way.
    refused: Option<E>,
    rest: Backoff,
    due: Instant,
}

impl<S: EventRepository<E>, E: Event> Copies<S, E> {
    /// What `steps` want copied of what passes the filters; `None`: nothing.
    ///
    /// # Errors
    /// When there is something, and the store cannot list it.
    pub(crate) fn new(
        steps: &[Arc<dyn ProcessingStep<E>>],
        store: &S,
        filters: FetchFilters,
        worker: &WorkerId,
    ) -> Result<Option<Self>> {
        let feeds: Vec<Feed<E>> = steps.iter().filter_map(|step| step.feed()).collect();
        if feeds.is_empty() {
            return Ok(None);
        }
        letters(store)?;
        let policy = RetryPolicy::default().at_most(Duration::from_millis(100), LONGEST_REST);
        let turn = Turn { refused: None, rest: Backoff::new(policy), due: Instant::now() };
        Ok(Some(Self {
            store: store.clone(),
            feeds,
            filters,
            worker: worker.clone(),
            page: BatchSize::new(PAGE)?,
            turn: Mutex::new(turn),
        }))
    }

    /// Copies until the set is dropped or `stop` is cancelled.
    pub(crate) fn spawn(copies: Option<&Arc<Self>>, stop: &CancellationToken) -> JoinSet<()> {
        let mut copying = JoinSet::new();
        if let Some(copies) = copies.cloned() {
            let stop = stop.clone();
            copying.spawn(async move {
                stop.run_until_cancelled(copies.run()).await;
            });
        }
        copying
    }

    async fn run(&self) {
        loop {
            let due = {
                let mut turn = self.turn.lock().await;
                // what was given up meanwhile makes no turn due while a storage is away
                if turn.due <= Instant::now() {
                    while self.page(&mut turn).await {}
                }
                turn.due
            };
            let woken = select_all(self.feeds.iter().map(|feed| Box::pin(feed.wake.notified())));
            tokio::select! {
                () = sleep_until(due) => {}
                _ = woken => self.woken().await,
            }
        }
    }

    /// Copies a page, if something was given up or it is time to look.
    pub(crate) async fn now_and_then(&self, is_given_up: bool) {
        let is_woken =
            self.feeds.iter().filter(|feed| feed.wake.notified().now_or_never().is_some()).count() > 0;
        if is_given_up || is_woken {
            self.woken().await;
        }
        let _ = timeout(TURN, async {
            let mut turn = self.turn.lock().await;
            if turn.due <= Instant::now() {
                self.page(&mut turn).await;
            }
        })
        .await;
    }

    /// Looks soon, unless a storage is away.
    async fn woken(&self) {
        let mut turn = self.turn.lock().await;
        if turn.refused.is_none() {
            turn.rest.reset();
            turn.due = Instant::now();
        }
    }

    /// Copies a page; whether the next one may follow at once.
    async fn page(&self, turn: &mut Turn<E>) -> bool {
        let was_refused = turn.refused.is_some();
        let goes_on = match self.copy_page(turn).await {
            Ok(Page::Full) => {
                turn.rest.reset();
                true
            }
            // what was refused before is tried again
            Ok(Page::Last) => {
                turn.refused = None;
                false
            }
            Ok(Page::Refused) => false,
            Err(error) => {
                tracing::debug!(worker_id = %self.worker, error = error.chain(), "dead letters cannot be read");
                false
            }
        };
        if !goes_on || was_refused {
            turn.due = Instant::now() + turn.rest.next_delay();
        }
        goes_on
    }

    async fn copy_page(&self, turn: &mut Turn<E>) -> Result<Page> {
        let letters = letters(&self.store)?;
        let list = letters.list_uncopied(&self.filters, turn.refused.as_ref(), self.page);
        let failed = within(CALL, list).await?;
        let is_last = failed.len() < self.page.get() as usize;
        let mut copied = Vec::with_capacity(failed.len());
        let mut refusals = Refusals::default();
        for event in failed {
            match self.copy(&event).await {
                Ok(()) => {
                    refusals.in_a_row = 0;
                    copied.push(event);
                }
                Err(failure) => {
                    refusals.count(&event, failure);
                    turn.refused = Some(event);
                    if refusals.in_a_row == REFUSALS {
                        break;
                    }
                }
            }
        }
        if !copied.is_empty() {
            within(CALL, letters.mark_copied(&copied)).await?;
        }
        let Some((event, failure)) = refusals.first else {
            return Ok(if is_last { Page::Last } else { Page::Full });
        };
        tracing::error!(
            worker_id = %self.worker, event_id = event, refused = refusals.all, error = %failure,
            "dead letters were not copied; their rows stay, and are tried again",
        );
        Ok(match refusals.in_a_row == REFUSALS {
            true => Page::Refused,
            false if is_last => Page::Last,
            false => Page::Full,
        })
    }

    async fn copy(&self, event: &E) -> std::result::Result<(), Box<dyn StdError + Send + Sync>> {
        let error = event.lifecycle().last_error().unwrap_or_default();
        for feed in &self.feeds {
            let copying = std::panic::AssertUnwindSafe(feed.storage.move_to_dlq(event, error));
            match timeout(CALL, copying.catch_unwind()).await {
                Ok(Ok(copied)) => copied?,
                Ok(Err(_)) => return Err("the storage panicked".into()),
                Err(_) => return Err(format!("the storage has not answered for {CALL:?}").into()),
            }
        }
        Ok(())
    }
}

/// What became of a page.
enum Page {
    /// Others may follow.
    Full,
    Last,
    /// The storage is away.
    Refused,
}

/// What storages have refused of a page.
#[derive(Default)]
struct Refusals {
    in_a_row: usize,
    all: usize,
    first: Option<(String, Box<dyn StdError + Send + Sync>)>,
}

impl Refusals {
    fn count<E: Event>(&mut self, event: &E, failure: Box<dyn StdError + Send + Sync>) {
        self.in_a_row += 1;
        self.all += 1;
        self.first.get_or_insert_with(|| (event.id().to_string(), failure));
    }
}

fn letters<S: EventRepository<E>, E: Event>(store: &S) -> Result<&dyn DeadLetters<E>> {
    store.dead_letters().ok_or_else(|| {
        Error::new(
            ErrorKind::Unsupported,
            "a DlqStep needs a store that lists failed events; this one does not",
        )
    })
}
