//! How long events took, and where.

use std::time::Instant;

use super::Load;
use super::arrivals::Arrivals;
use super::load::Written;
use super::observed::Stamps;
use crate::report::{Report, Series, Stage, percentile};
use crate::run::Run;

/// Points of a plot's line cover this many seconds.
const SLICE: f64 = 0.25;

/// How long each measured event took from its commit.
pub(crate) struct Timings {
    /// Seconds since the first measured event was due, and milliseconds.
    points: Vec<(f64, f64)>,
    millis: Vec<f64>,
    /// Milliseconds of the events of the warm-up.
    cold: Vec<f64>,
    missing: usize,
}

impl Timings {
    /// Of events that arrived when `arrived` says.
    pub(crate) fn of(load: &Load, written: &[Written], arrived: impl Fn(usize) -> Option<Instant>) -> Self {
        let mut timings = Self { points: Vec::new(), millis: Vec::new(), cold: Vec::new(), missing: 0 };
        let Some(start) = written.get(load.unmeasured()).map(|event| event.due) else { return timings };
        for (number, event) in written.iter().enumerate() {
            let Some(arrived) = arrived(number) else {
                timings.missing += 1;
                continue;
            };
            let millis = millis(event.committed, arrived);
            if number >= load.unmeasured() {
                timings.points.push(((event.due - start).as_secs_f64(), millis));
                timings.millis.push(millis);
            } else {
                timings.cold.push(millis);
            }
        }
        timings
    }

    pub(crate) fn millis(&self) -> &[f64] {
        &self.millis
    }

    pub(crate) fn cold(&self) -> &[f64] {
        &self.cold
    }

    /// The percentiles, and their course.
    pub(crate) fn report(&self, run: &Run, load: &Load) -> Report {
        let mut report = Report::new(run.name, self.millis.len(), load.measured).latencies(&self.millis);
        report.missing = Some(self.missing);
        report.series = vec![self.course("p50", 0.50), self.course("p99", 0.99)];
        report
    }

    fn course(&self, label: &'static str, part: f64) -> Series {
        let slices = self.points.chunk_by(|(a, _), (b, _)| (a / SLICE) as u64 == (b / SLICE) as u64);
        let point = |slice: &[(f64, f64)]| {
            let millis: Vec<f64> = slice.iter().map(|(_, millis)| *millis).collect();
            Some((slice.first()?.0, percentile(&millis, part)?))
        };
        Series { label, points: slices.filter_map(point).collect() }
    }
}

/// The parts of the way, of measured events.
///
/// - `enqueue`: from the time when the event should have been written to the end of its commit. It is not part of the latency.
/// - `wake-up`: to the beginning of the fetch that found it.
/// - `fetch`: to the hand-over to the producer.
/// - `linger`: until the broker had it in its log.
/// - `consumer`: from there to the consumer.
/// - `broker`: from the log to the acknowledgement at the relay, beside the way to the consumer.
pub(super) fn attribute(load: &Load, written: &[Written], stamps: &Stamps, arrived: &Arrivals) -> Vec<Stage> {
    const NAMES: [&str; 6] = ["enqueue", "wake-up", "fetch", "linger", "consumer", "broker"];
    let mut parts: [Vec<f64>; 6] = Default::default();
    for (number, event) in written.iter().enumerate().skip(load.unmeasured()) {
        let passed = || {
            let stamp = stamps.of(event.id)?;
            // a fetch that began before the writer knew of its commit may find the event
            let began = stamp.fetch?.max(event.committed);
            let (submitted, appended) = (stamp.submitted?, arrived.appended(number)?);
            Some([
                millis(event.due, event.committed),
                millis(event.committed, began),
                millis(began, submitted),
                millis(submitted, appended),
                millis(appended, arrived.at(number)?),
                millis(appended, stamp.acknowledged?),
            ])
        };
        for (part, millis) in parts.iter_mut().zip(passed().into_iter().flatten()) {
            part.push(millis);
        }
    }
    let stage = |(name, millis): (&'static str, &Vec<f64>)| {
        Some(Stage { name, p50_ms: percentile(millis, 0.50)?, p99_ms: percentile(millis, 0.99)? })
    };
    NAMES.into_iter().zip(&parts).filter_map(stage).collect()
}

fn millis(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}
