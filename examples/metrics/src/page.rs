//! The page, as a scraper reads it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;

/// How long one scrape may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// Values by the name and labels of their series.
pub(crate) struct Page(HashMap<String, f64>);

impl Page {
    pub(crate) async fn get(address: SocketAddr) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(DEADLINE).build()?;
        let answer = client.get(format!("http://{address}/metrics")).send().await?;
        ensure!(answer.status().is_success(), "the page says {}", answer.status());
        let text = answer.text().await?;
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let parsed = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self(parsed.collect()))
    }

    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }
}
