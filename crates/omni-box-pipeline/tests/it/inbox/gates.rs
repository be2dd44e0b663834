//! What an outage leaves in the log: a line when it begins and one when it ends, however often anybody tried.

use omni_box_core::HandlerOutcome;
use omni_box_harness::eventually;
use omni_box_testkit::Operation;
use serde_json::json;

use super::memory::{Handler, Memory};
use super::service::{LONG, Running};
use crate::gate_log::GateLog;

#[tokio::test(start_paused = true)]
async fn an_outage_is_logged_once() {
    let log = GateLog::listen();
    let memory = Memory::new();
    let handler = Handler::new(|_, _| async { Ok(HandlerOutcome::Completed) });
    let running = Running::new(memory.builder(&handler));
    memory.broker.send(0, "m0", "k", json!({}));
    memory.drained().await;
    assert_eq!(log.lines(), [""; 0]);

    memory.plan.cut();
    memory.broker.send(0, "m1", "k", json!({}));
    let before = memory.plan.calls(Operation::Begin);
    eventually(LONG, async || memory.plan.calls(Operation::Begin) >= before + 10).await;
    memory.plan.restore();
    memory.drained().await;
    let mut expected = GateLog::outage("database");
    assert_eq!(log.lines(), expected);

    memory.broker.refuse_commits();
    memory.broker.send(0, "m2", "k", json!({}));
    let before = memory.broker.commits();
    eventually(LONG, async || memory.broker.commits() >= before + 10).await;
    memory.broker.accept_commits();
    memory.drained().await;
    running.stop().await;
    expected.extend(GateLog::outage("offset commit"));
    assert_eq!(log.lines(), expected);
}
