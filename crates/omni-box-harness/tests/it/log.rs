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
