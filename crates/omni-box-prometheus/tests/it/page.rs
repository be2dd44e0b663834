//! What a scrape answers, read back.

use std::collections::BTreeMap;

use omni_box_prometheus::PrometheusMetrics;
use omni_box_prometheus::prometheus::{Registry, TextEncoder};

/// A registry with metrics on it.
pub(crate) fn registered() -> (Registry, PrometheusMetrics) {
    let registry = Registry::new();
    let metrics = PrometheusMetrics::new(&registry).unwrap();
    (registry, metrics)
}

/// A family as a scrape shows it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) help: String,
    /// By the name with its labels, as it is written.
    pub(crate) series: BTreeMap<String, f64>,
}

/// Families by name.
pub(crate) struct Page(pub(crate) BTreeMap<String, Family>);

impl Page {
    pub(crate) fn scrape(registry: &Registry) -> Self {
        Self::parse(&TextEncoder::new().encode_to_string(&registry.gather()).unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut last = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                families.entry(name.to_owned()).or_default().help = help.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                families.entry(name.to_owned()).or_default().kind = kind.to_owned();
                last = name.to_owned();
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(series.starts_with(&last), "{series} stands below {last}");
                let series = (series.to_owned(), value.parse().unwrap());
                assert_eq!(families.get_mut(&last).unwrap().series.insert(series.0, series.1), None);
            }
        }
        Self(families)
    }

    /// The value of a series, by its name and labels.
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.0.values().find_map(|family| family.series.get(series)).copied()
    }

    /// All series but those that are zero, and the bounds of histograms, which do not depend on what was measured.
    pub(crate) fn told(&self) -> BTreeMap<&str, f64> {
        let series = self.0.values().flat_map(|family| &family.series);
        let is_told = |(name, value): &(&str, f64)| *value != 0.0 && !name.contains("_bucket{");
        series.map(|(name, value)| (name.as_str(), *value)).filter(is_told).collect()
    }
}
