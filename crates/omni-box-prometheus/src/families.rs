//! Registers families of metrics.

use omni_box_core::{Error, ErrorKind, Result};
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// A registry and what stands before the names in it.
pub(crate) struct Families<'a> {
    registry: &'a Registry,
    prefix: &'a str,
}

impl<'a> Families<'a> {
    pub(crate) fn new(registry: &'a Registry, prefix: &'a str) -> Self {
        Self { registry, prefix }
    }

    /// What a family is called and says of itself.
    pub(crate) fn options(&self, name: &str, help: &str) -> Opts {
        Opts::new(name, help).namespace(self.prefix)
    }

    pub(crate) fn add<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        made: prometheus::Result<C>,
    ) -> Result<C> {
        let register = |collector: C| {
            self.registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        };
        made.and_then(register).map_err(|error| refused(name, error))
    }

    pub(crate) fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.add(name, IntCounter::with_opts(self.options(name, help)))
    }

    pub(crate) fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.add(name, IntCounterVec::new(self.options(name, help), labels))
    }

    pub(crate) fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.add(name, IntGauge::with_opts(self.options(name, help)))
    }

    pub(crate) fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.add(name, IntGaugeVec::new(self.options(name, help), labels))
    }

    /// A gauge that is absent until it has a value.
    pub(crate) fn late_gauge(&self, name: &str, help: &str) -> Result<LateGauge> {
        Ok(LateGauge(self.add(name, GaugeVec::new(self.options(name, help), &[]))?))
    }

    pub(crate) fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        self.add(name, Histogram::with_opts(self.histogram_options(name, help, buckets)))
    }

    pub(crate) fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        label: &str,
    ) -> Result<HistogramVec> {
        self.add(name, HistogramVec::new(self.histogram_options(name, help, buckets), &[label]))
    }

    fn histogram_options(&self, name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
        HistogramOpts::from(self.options(name, help)).buckets(buckets.to_vec())
    }
}

/// A gauge that is absent until it has a value.
#[derive(Clone)]
pub(crate) struct LateGauge(GaugeVec);

impl LateGauge {
    pub(crate) fn get(&self) -> Gauge {
        self.0.with_label_values::<&str>(&[])
    }
}

fn refused(name: &str, error: prometheus::Error) -> Error {
    Error::new(ErrorKind::Misconfigured, format!("the metric {name} cannot be registered")).with_source(error)
}
