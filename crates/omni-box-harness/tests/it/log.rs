//! What a test logs, beside others in the same process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use omni_box_harness::Log;

fn log(number: u64) {
    tracing::info!(number, gate = "door", "opened");
}

fn numbers(log: &Log) -> Vec<String> {
    log.events().into_iter().map(|mut event| event.remove("number").unwrap()).collect()
}

#[test]
fn an_event_is_kept_though_a_thread_that_does_not_listen_came_first() {
    let listening = Log::listen();
    std::thread::spawn(|| log(1)).join().unwrap();
    log(2);
    assert_eq!(numbers(&listening), ["2"]);
    let event = listening.events().remove(0);
    assert_eq!((event["gate"].as_str(), event["message"].as_str()), ("door", "opened"));
}

#[test]
fn each_thread_keeps_its_own_events() {
    let threads = [3, 4, 5].map(|number| {
        std::thread::spawn(move || {
            let listening = Log::listen();
            log(number);
            let second = Log::listen();
            log(number + 10);
            drop(listening);
            log(number + 20);
            (number, numbers(&second))
        })
    });
    for thread in threads {
        let (number, kept) = thread.join().unwrap();
        assert_eq!(kept, [number + 10, number + 20].map(|number| number.to_string()));
    }
}

/// What the child of the next test does.
const PLANTED: &str = "OMNI_BOX_TEST_PLANTED";

#[test]
fn a_line_or_a_span_with_a_payload_ends_the_process_of_the_tests() {
    let this = "log::a_line_or_a_span_with_a_payload_ends_the_process_of_the_tests";
    if let Ok(planted) = std::env::var(PLANTED) {
        omni_box_harness::guard_log();
        match planted.as_str() {
            "line" => tracing::info!(target: "omni_box_x", body = r#"{"a":"canary-in-the-payload"}"#, "sent"),
            "debug" => tracing::trace!(target: "omni_box_x", "cannot send {:?}", ("canary-in-the-key", 1)),
            "span" => drop(tracing::debug_span!(target: "omni_box_x", "send", password = "bob-secret")),
            _ => tracing::info!(target: "omni_box_x", event_id = "7", "sent"),
        }
        return;
    }
    for (planted, is_found) in [("line", true), ("debug", true), ("span", true), ("nothing", false)] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = child.args(["--exact", this]).env(PLANTED, planted).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.success(), !is_found, "{planted}: {said}");
        assert_eq!(said.contains("tests/it/log.rs:"), is_found, "where it is from: {said}");
        assert!(!said.contains("canary-in-the-payload") && !said.contains("bob"), "not the text: {said}");
    }
}
