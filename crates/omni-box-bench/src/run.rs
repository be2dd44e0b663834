//! What every workload is given.

use anyhow::{Result, ensure};
use omni_box_harness::Servers;

use crate::progress::Progress;

/// One run of one workload.
#[derive(Clone)]
pub(crate) struct Run {
    pub(crate) servers: Servers,
    pub(crate) name: &'static str,
    pub(crate) progress: Progress,
    is_quick: bool,
}

impl Run {
    pub(crate) fn new(servers: &Servers, name: &'static str, is_quick: bool) -> Self {
        Self { servers: servers.clone(), name, progress: Progress::new(name), is_quick }
    }

    /// How many: of a full run, or of a quick one.
    pub(crate) fn scale(&self, full: usize, quick: usize) -> usize {
        if self.is_quick { quick } else { full }
    }

    pub(crate) fn brokers(&self) -> &str {
        &self.servers.kafka_brokers
    }
}

/// Two counts that have to agree.
pub(crate) fn same(what: &str, found: i64, expected: usize) -> Result<()> {
    ensure!(
        usize::try_from(found).is_ok_and(|found| found == expected),
        "{what}: {found} and not {expected}"
    );
    Ok(())
}
