//! A relay that is stopped while its events are on their way.

use omni_box_core::DeliveryMode;
use omni_box_testkit::{Faulty, Operation};
use tokio::time::{Instant, timeout};

use super::memory::{Memory, start};
use super::*;

const MODES: [DeliveryMode; 2] = [DeliveryMode::Lanes, DeliveryMode::Rows];

#[tokio::test(start_paused = true)]
async fn waits_for_the_answer_to_what_it_has_sent() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        memory.plan.on(Operation::Deliver).freeze_after();
        memory.enqueue(&["a"]).await?;
        let relay = memory.relay(memory.store.clone()).lease_ttl(Duration::from_secs(60));
        let mut running = start(relay.drain_deadline(Duration::from_secs(20)));
        memory.plan.until_frozen().await;
        running.shutdown.cancel();
        timeout(Duration::from_secs(15), &mut running.task).await.expect_err("it waits");
        memory.plan.release();
        running.stop().await?;
        assert_eq!(memory.completed(1).await, Duration::ZERO, "mode {mode}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn gives_up_at_the_deadline_and_gives_back_what_it_had() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        memory.plan.on(Operation::Deliver).freeze_after();
        memory.enqueue(&["a"]).await?;
        let relay = memory.relay(memory.store.clone()).lease_ttl(Duration::from_secs(60));
        let running = start(relay.drain_deadline(Duration::from_secs(20)));
        memory.plan.until_frozen().await;
        let begun = Instant::now();
        running.stop().await?;
        let took = begun.elapsed();
        assert!(
            (Duration::from_secs(20)..Duration::from_secs(21)).contains(&took),
            "{took:?} in mode {mode}"
        );
        assert!(memory.is_untouched(), "mode {mode}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn sends_nothing_that_it_takes_after_it_was_stopped() -> Result<()> {
    for (mode, operation) in
        [(DeliveryMode::Lanes, Operation::FetchLanes), (DeliveryMode::Rows, Operation::Claim)]
    {
        let memory = Memory::new(mode);
        memory.plan.on(operation).freeze_before();
        memory.enqueue(&["a"]).await?;
        let running = start(memory.relay(Faulty::new(memory.store.clone(), &memory.plan)));
        memory.plan.until_frozen().await;
        running.shutdown.cancel();
        memory.plan.release();
        running.stop().await?;
        assert_eq!(memory.published(), 0, "mode {mode}");
        assert!(memory.is_untouched(), "mode {mode}");
    }
    Ok(())
}

/// The database does not answer either, so that nothing can be given back.
#[tokio::test(start_paused = true)]
async fn ends_soon_after_the_deadline_whatever_happens() -> Result<()> {
    for (mode, operation) in
        [(DeliveryMode::Lanes, Operation::SettleLanes), (DeliveryMode::Rows, Operation::CompleteMany)]
    {
        let memory = Memory::new(mode);
        memory.plan.on(operation).freeze_before();
        memory.enqueue(&["a"]).await?;
        let relay = memory.relay(Faulty::new(memory.store.clone(), &memory.plan));
        let running = start(relay.drain_deadline(Duration::from_secs(2)));
        memory.plan.until_frozen().await;
        let begun = Instant::now();
        running.stop().await?;
        let took = begun.elapsed();
        assert!(took <= Duration::from_secs(8), "{took:?} in mode {mode}");
    }
    Ok(())
}
