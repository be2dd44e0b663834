//! The runner on Kafka: partitions that move between two runners while handlers are slow.

use std::time::Duration;

use omni_box_core::HandlerOutcome;
use omni_box_harness::eventually;

use super::service::{Effects, LONG, Running, Service};
use super::topic::Topic;

const MESSAGES: usize = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_move_between_runners_and_every_message_takes_effect_once() {
    let Some(topic) = Topic::create(6).await else { return };
    let Some(service) = Service::new(1).await else { return };
    let act = Effects::new(|id, _, _| {
        let is_slow = id.ends_with("00");
        Box::pin(async move {
            if is_slow {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(HandlerOutcome::Completed)
        })
    });
    let run = || {
        let builder = service.builder_on(topic.consumer(), topic.group());
        Running::new(builder.handler(act.clone()).group_size(20))
    };
    let messages: Vec<_> = (0..MESSAGES).map(|n| (format!("m{n}"), format!("k{}", n % 30), n)).collect();
    topic.send(messages.iter().map(|(id, key, n)| (id.as_str(), key.as_str(), *n))).await;
    let effects = async || service.count("select count(*) from effects").await;

    let first = run();
    eventually(LONG, async || effects().await > 100).await;
    let second = run();
    eventually(LONG, async || effects().await > 500).await;
    first.stop().await;
    eventually(LONG, async || effects().await == MESSAGES as i64).await;
    topic.drained(MESSAGES as i64).await;
    second.stop().await;
    assert_eq!(effects().await, MESSAGES as i64);
    assert_eq!(service.count("select count(distinct message_id) from effects").await, MESSAGES as i64);
    assert_eq!(
        service.count("select sum(attempts_made)::bigint from inbox_events").await,
        0,
        "ends were good"
    );
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0);
    service.database.close().await.unwrap();
}
