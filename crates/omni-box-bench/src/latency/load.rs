//! Writers that enqueue at a steady rate.

use std::time::{Duration, Instant};

use anyhow::Result;
use omni_box::EventId;
use omni_box::postgres::PgStore;
use omni_box::prelude::*;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;
use crate::table;

/// Most events of one transaction.
const GROUP: usize = 100;
const KEYS: usize = 500;

/// Events at a steady rate. Those of the first seconds are not measured: relay, consumer and the broker's code have to get warm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Events a second, by all writers together.
    pub(crate) rate: usize,
    pub(crate) writers: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// An event that was committed; its number is its place in the list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) id: EventId,
    /// When it should have been written.
    pub(crate) due: Instant,
    /// When the writer knew that it was committed.
    pub(crate) committed: Instant,
}

impl Load {
    pub(crate) fn new(rate: usize, seconds: usize) -> Self {
        Self {
            rate,
            writers: 8,
            warm_up: Duration::from_secs(3),
            measured: Duration::from_secs(seconds as u64),
        }
    }

    pub(crate) fn events(&self) -> usize {
        ((self.warm_up + self.measured).as_secs_f64() * self.rate as f64) as usize
    }

    /// Events of the warm-up: the first so many are not measured.
    pub(crate) fn unmeasured(&self) -> usize {
        (self.warm_up.as_secs_f64() * self.rate as f64) as usize
    }

    /// Writes the events, each at its time, until all are written or `stop` is cancelled; returns those without a gap from the first.
    ///
    /// A writer commits what is due by then in one transaction: writers that were late catch up.
    pub(crate) async fn write(
        self,
        store: &PgStore,
        topic: &str,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Vec<Written>> {
        let events = self.events();
        progress.begin(events);
        let start = Instant::now();
        let mut writers = JoinSet::new();
        for writer in 0..self.writers {
            let task = Writer {
                load: self,
                next: writer,
                start,
                store: store.clone(),
                topic: topic.to_owned(),
                progress: (writer == 0).then(|| progress.clone()),
            };
            writers.spawn(task.run(events, stop.clone()));
        }
        let mut written = vec![None; events];
        while let Some(ended) = writers.join_next().await {
            for (number, event) in ended?? {
                written[number] = Some(event);
            }
        }
        Ok(written.into_iter().map_while(|event| event).collect())
    }
}

/// One of the writers: it has every so many-th event.
struct Writer {
    load: Load,
    next: usize,
    start: Instant,
    store: PgStore,
    topic: String,
    progress: Option<Progress>,
}

impl Writer {
    fn due(&self, number: usize) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.load.rate as f64)
    }

    async fn run(mut self, events: usize, stop: CancellationToken) -> Result<Vec<(usize, Written)>> {
        let domain = OmniBoxDomainService::default();
        let mut written = Vec::new();
        while self.next < events && !stop.is_cancelled() {
            tokio::time::sleep_until(self.due(self.next).into()).await;
            let (now, first) = (Instant::now(), written.len());
            let mut group = Vec::new();
            while self.next < events && self.due(self.next) <= now && group.len() < GROUP {
                let event = table::event(&domain, &self.topic, self.next % KEYS, self.next)?;
                let due = self.due(self.next);
                written.push((self.next, Written { id: event.id(), due, committed: due }));
                group.push(event);
                self.next += self.load.writers;
            }
            // straight on the pool, as an application writes: nothing wakes the relay in this process
            let mut tx = self.store.pool().begin().await?;
            self.store.create_many(&mut tx, &group).await?;
            tx.commit().await?;
            let committed = Instant::now();
            for (_, event) in &mut written[first..] {
                event.committed = committed;
            }
            if let Some(progress) = &self.progress {
                progress.at(self.next.min(events));
            }
        }
        Ok(written)
    }
}
