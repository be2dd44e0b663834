//! A publisher that ends for good, such as a borrowed producer after a fatal error, ends its relay in good order.

use omni_box_core::{DeliveryMode, ErrorKind, EventStatus};
use omni_box_testkit::Operation;
use tokio::time::timeout;

use super::memory::{Memory, start};
use super::*;

const MODES: [(DeliveryMode, DeliveryMode); 2] =
    [(DeliveryMode::Lanes, DeliveryMode::Rows), (DeliveryMode::Rows, DeliveryMode::Lanes)];

#[tokio::test(start_paused = true)]
async fn ends_its_relay_and_leaves_nothing_behind() -> Result<()> {
    for kind in [ErrorKind::Fatal, ErrorKind::Misconfigured] {
        for (mode, other) in MODES {
            let memory = Memory::new(mode);
            let running = start(memory.relay(memory.store.clone()));
            memory.enqueue(&["a"]).await?;
            memory.completed(1).await;

            // of three events one arrives, one meets the end, and one stands behind it
            memory.plan.on(Operation::Deliver).nth(2).fail_before(ErrorKind::Fatal);
            memory.plan.on(Operation::Check).always().fail_before(kind);
            memory.enqueue(&["b", "c", "d"]).await?;
            let ended = timeout(Duration::from_secs(5), running.task).await.expect("the relay ends");
            let error = ended?.expect_err("waiting cannot help");
            assert_eq!(error.kind(), kind, "mode {mode}");

            let events = memory.store.outbox_events();
            let completed = events.iter().filter(|event| event.status() == EventStatus::Completed).count();
            assert_eq!(
                (completed, memory.published()),
                (2, 2),
                "what was acknowledged is marked, mode {mode}"
            );
            assert!(memory.is_untouched(), "mode {mode}");
            assert!(events.iter().all(|event| event.lifecycle().last_error().is_none()), "mode {mode}");
            // refused while anything is leased or claimed
            memory.store.set_delivery_mode(other)?;
            memory.store.set_delivery_mode(mode)?;

            memory.plan.clear();
            let next = start(memory.relay(memory.store.clone()));
            let took = memory.completed(4).await;
            assert!(
                took <= Duration::from_secs(1),
                "{took:?} until the next relay has done the rest, mode {mode}"
            );
            next.stop().await?;
        }
    }
    Ok(())
}
