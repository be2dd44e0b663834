//! [`Inspection`](omni_box_core::store::Inspection): a sample says what is in the tables.

pub mod inbox;
pub mod outbox;

use std::time::Duration;

use omni_box_core::Store;
use omni_box_core::store::{Count, Sample};

use super::table::MINUTE;
use super::transaction::retried;

async fn sample<S: Store>(store: &S) -> Sample {
    let inspection = store.inspection().expect("a store that is tested for inspection has it");
    retried("take a sample", async || inspection.sample().await).await
}

fn exactly(count: u64) -> Count {
    Count { count, is_exact: true }
}

/// Whether an age is what it should be, given that the case itself takes a moment.
fn is_about(age: Option<Duration>, expected: Duration) -> bool {
    age.is_some_and(|age| (expected..expected + MINUTE).contains(&age))
}
