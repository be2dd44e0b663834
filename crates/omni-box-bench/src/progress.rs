//! How far a workload is: a bar on a terminal, else a line now and then; and what its rate was over time.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Off a terminal a line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// A plot needs no more points than this a second.
const POINT_EVERY: Duration = Duration::from_millis(50);

/// The progress of one workload. Clones show the same bar.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<State>>);

struct State {
    name: &'static str,
    all: usize,
    began: Instant,
    told: Instant,
    /// Seconds since it began, and how much was done by then.
    points: Vec<(f64, usize)>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(name: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{prefix:>20} {bar:40} {pos}/{len} {msg}");
            let bar = ProgressBar::new(0).with_prefix(name);
            // a template that does not parse costs the looks, not the bar
            style.map_or_else(|_| bar.clone(), |style| bar.clone().with_style(style))
        });
        if bar.is_none() {
            eprintln!("running {name} ...");
        }
        let now = Instant::now();
        Self(Arc::new(Mutex::new(State { name, all: 0, began: now, told: now, points: Vec::new(), bar })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is being prepared.
    pub(crate) fn preparing(&self, what: &'static str) {
        if let Some(bar) = &self.state().bar {
            bar.set_message(what);
            bar.tick();
        }
    }

    /// The measured part begins: there are so many events to come.
    pub(crate) fn begin(&self, all: usize) {
        let mut state = self.state();
        (state.all, state.began, state.told) = (all, Instant::now(), Instant::now());
        state.points = vec![(0.0, 0)];
        if let Some(bar) = &state.bar {
            bar.set_message("");
            bar.set_length(all as u64);
        }
    }

    /// So many are done by now.
    pub(crate) fn at(&self, done: usize) {
        let mut state = self.state();
        let now = Instant::now();
        let seconds = (now - state.began).as_secs_f64();
        let last = state.points.last().map_or(0.0, |(at, _)| *at);
        if seconds - last >= POINT_EVERY.as_secs_f64() || done >= state.all {
            state.points.push((seconds, done));
        }
        if let Some(bar) = &state.bar {
            bar.set_position(done as u64);
        } else if now - state.told >= LINE_EVERY {
            state.told = now;
            eprintln!("{}: {done} of {}", state.name, state.all);
        }
    }

    /// Events a second over time: seconds and rate.
    pub(crate) fn rates(&self) -> Vec<(f64, f64)> {
        let state = self.state();
        let pairs = state.points.iter().zip(state.points.iter().skip(1));
        let rate = |((from, before), (to, after)): (&(f64, usize), &(f64, usize))| {
            (to > from).then(|| (*to, after.saturating_sub(*before) as f64 / (to - from)))
        };
        pairs.filter_map(rate).collect()
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
