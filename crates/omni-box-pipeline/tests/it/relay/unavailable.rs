//! A broker that says it can be used, and takes nothing: an endpoint that answers 200 to HEAD and 503 to POST.

use omni_box_core::{DeliveryMode, ErrorKind};
use omni_box_testkit::Operation;
use tokio::time::timeout;

use super::memory::{LONGEST_RETRY, Memory, start};
use super::*;

const MODES: [DeliveryMode; 2] = [DeliveryMode::Lanes, DeliveryMode::Rows];
const KEYS: [&str; 3] = ["a", "b", "c"];

fn refuse_everything(memory: &Memory) {
    memory.plan.on(Operation::Submit).times(200).fail_before(ErrorKind::Unavailable);
    // paused time stands still for a relay that tries at full speed
    memory.plan.on(Operation::Submit).always().freeze_before();
}

#[tokio::test(start_paused = true)]
async fn is_tried_again_with_growing_delays_and_no_attempt_spent() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        refuse_everything(&memory);
        memory.enqueue(&KEYS).await?;
        let mut running = start(memory.relay(memory.store.clone()));
        timeout(Duration::from_secs(600), &mut running.task).await.expect_err("the relay goes on");
        // 5 on the way to the longest delay, then one each 15 to 30 s
        let tries = memory.plan.calls(Operation::Submit);
        assert!((20..=50).contains(&tries), "{tries} tries in 10 minutes, mode {mode}");
        assert_eq!((memory.published(), memory.attempts_made()), (0, 0));
        running.stop().await?;
        assert!(memory.is_untouched(), "mode {mode}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn is_found_when_it_is_back_and_forgiven() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        refuse_everything(&memory);
        memory.enqueue(&KEYS).await?;
        let mut running = start(memory.relay(memory.store.clone()));
        timeout(Duration::from_secs(600), &mut running.task).await.expect_err("the relay goes on");

        // it takes one event and stumbles at the next, twice
        memory.plan.clear();
        for call in [2, 4] {
            memory.plan.on(Operation::Deliver).nth(call).fail_before(ErrorKind::Unavailable);
        }
        let took = memory.marked(1).await;
        assert!(took <= LONGEST_RETRY + Duration::from_secs(1), "{took:?} after a long outage, mode {mode}");
        memory.marked(2).await;
        let took = memory.completed(3).await;
        assert!(took <= Duration::from_secs(3), "{took:?} after two successes, mode {mode}");

        memory.plan.on(Operation::Submit).fail_before(ErrorKind::Unavailable);
        memory.enqueue(&KEYS).await?;
        let took = memory.completed(6).await;
        assert!(took <= Duration::from_secs(3), "{took:?} after a short outage, mode {mode}");
        assert_eq!(memory.attempts_made(), 0);
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn writers_do_not_cut_the_delay_short() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        let mut running = start(memory.relay(memory.store.clone()));
        refuse_everything(&memory);
        for _second in 0..600 {
            memory.enqueue(&["a"]).await?;
            timeout(Duration::from_secs(1), &mut running.task).await.expect_err("the relay goes on");
        }
        // a try may meet new events, and submit twice
        let tries = memory.plan.calls(Operation::Submit);
        assert!((20..=100).contains(&tries), "{tries} tries in 10 minutes, mode {mode}");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_outage_through_which_nothing_waited_is_forgiven_too() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        memory.plan.on(Operation::Check).times(20).fail_before(ErrorKind::Unavailable);
        let mut running = start(memory.relay(memory.store.clone()));
        timeout(Duration::from_secs(700), &mut running.task).await.expect_err("the relay goes on");

        memory.plan.clear();
        memory.plan.on(Operation::Submit).fail_before(ErrorKind::Unavailable);
        memory.enqueue(&["a"]).await?;
        let took = memory.completed(1).await;
        assert!(took <= Duration::from_secs(3), "{took:?} after a short outage, mode {mode}");
        running.stop().await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_that_is_silent_altogether_holds_no_key() -> Result<()> {
    for mode in MODES {
        let memory = Memory::new(mode);
        let mut running = start(memory.relay(memory.store.clone()));
        memory.enqueue(&KEYS).await?;
        memory.completed(3).await;
        memory.broker.cut();
        memory.enqueue(&KEYS).await?;
        timeout(Duration::from_secs(60), &mut running.task).await.expect_err("the relay goes on");
        let events = memory.store.outbox_events();
        assert!(events.iter().all(|event| event.lifecycle().last_error().is_none()), "mode {mode}");
        memory.broker.restore();
        memory.completed(6).await;
        running.stop().await?;
    }
    Ok(())
}
