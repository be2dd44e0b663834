//! A step that does the same whenever it is asked about the special event, until the rule is over.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use omni_box_core::Event;
use omni_box_pipeline::{BatchContext, Outcome, ProcessingContext, ProcessingStep, SettledEvent, StepResult};

#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    Next,
    Skip,
    Complete,
    Fail,
    Stop,
    StopFor(Duration),
    Panic,
    Never,
}

#[derive(Clone)]
pub(super) struct Ruled(Arc<State>);

struct State {
    rule: Rule,
    is_over: AtomicBool,
    asked: AtomicUsize,
    ends: Mutex<Vec<(String, Outcome)>>,
    batch_starts: AtomicUsize,
    /// Events of batches that ended.
    batch_ends: AtomicUsize,
}

/// What the step keeps with an event.
struct Seen(String);

impl Ruled {
    pub(super) fn new(rule: Rule) -> Self {
        Self(Arc::new(State {
            rule,
            is_over: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            ends: Mutex::default(),
            batch_starts: AtomicUsize::new(0),
            batch_ends: AtomicUsize::new(0),
        }))
    }

    pub(super) fn over(&self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }

    /// How often it was asked about the special event.
    pub(super) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    pub(super) fn ends(&self, name: &str) -> Vec<Outcome> {
        let ends = self.0.ends.lock().unwrap();
        ends.iter().filter(|(ended, _)| ended == name).map(|(_, outcome)| *outcome).collect()
    }

    pub(super) fn batch_starts(&self) -> usize {
        self.0.batch_starts.load(Ordering::SeqCst)
    }

    pub(super) fn batch_ends(&self) -> usize {
        self.0.batch_ends.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl<E: Event> ProcessingStep<E> for Ruled {
    async fn on_batch_start(&self, cx: &BatchContext<'_>) {
        assert!(cx.events() > 0);
        self.0.batch_starts.fetch_add(1, Ordering::SeqCst);
    }

    fn on_event_start(&self, event: &E, cx: &mut ProcessingContext<'_>) {
        cx.insert(Seen(event.event_type().to_owned()));
    }

    async fn execute(&self, event: &E, cx: &mut ProcessingContext<'_>) -> StepResult {
        assert_eq!(cx.get::<Seen>().unwrap().0, event.event_type());
        if event.event_type() != "special" {
            return StepResult::next();
        }
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if self.0.is_over.load(Ordering::SeqCst) {
            return StepResult::next();
        }
        match self.0.rule {
            Rule::Next => StepResult::next(),
            Rule::Skip => StepResult::skip(),
            Rule::Complete => StepResult::complete(),
            Rule::Fail => StepResult::fail("unwanted"),
            Rule::Stop => StepResult::stop(),
            Rule::StopFor(delay) => StepResult::stop_for(delay),
            Rule::Panic => panic!("as the test wants it"),
            Rule::Never => std::future::pending().await,
        }
    }

    fn on_event_end(&self, event: &E, outcome: Outcome, cx: &mut ProcessingContext<'_>) {
        let Seen(name) = cx.remove().expect("what was kept at the start is there at the end");
        assert_eq!(name, event.event_type());
        self.0.ends.lock().unwrap().push((name, outcome));
    }

    async fn on_batch_end(&self, settled: &[SettledEvent<'_, E>], _cx: &BatchContext<'_>) {
        self.0.batch_ends.fetch_add(settled.len(), Ordering::SeqCst);
    }
}
