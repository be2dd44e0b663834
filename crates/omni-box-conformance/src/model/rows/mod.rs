//! Claims of rows against a model.

mod case;
mod operation;
mod table;

use std::ops::Range;
use std::time::Duration;

use omni_box_core::{DeliveryMode, OutboxRepository};
use proptest::strategy::Strategy;

use self::case::Case;
use self::operation::{Operation, WORKERS};
use super::call::Checked;
use super::runner::{Ground, Trace};
use crate::StoreFixture;

/// A store whose rows are claimed, on which cases are played.
pub(super) struct Rows<F: StoreFixture> {
    fixture: F,
    /// Writes events, and looks.
    writer: F::Store,
    /// Each worker's own, as in a process of its own.
    stores: Vec<F::Store>,
    /// How far the store's clock was moved.
    ahead: Duration,
    cases: u32,
}

impl<F: StoreFixture<Store: OutboxRepository>> Ground for Rows<F> {
    type Operation = Operation;

    const CASES: u32 = 20;

    const LENGTH: Range<usize> = 1..40;

    async fn prepare() -> Option<Self> {
        let fixture = F::create().await?;
        fixture.set_mode(DeliveryMode::Rows).await;
        let writer = fixture.open().await;
        let mut stores = Vec::with_capacity(WORKERS);
        for _ in 0..WORKERS {
            stores.push(fixture.open().await);
        }
        Some(Self { fixture, writer, stores, ahead: Duration::ZERO, cases: 0 })
    }

    fn operations() -> impl Strategy<Value = Operation> {
        operation::operations()
    }

    async fn play(&mut self, operations: &[Operation], trace: &Trace) -> Checked {
        self.cases += 1;
        let mut case = Case::new(self, trace);
        for operation in operations {
            // boxed: the futures of a step are large
            Box::pin(case.step(operation)).await?;
        }
        Box::pin(case.clean_up()).await
    }
}
