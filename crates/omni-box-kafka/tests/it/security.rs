//! Brokers that refuse: a listener without TLS or SASL, a wrong password, a missing right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use omni_box_core::{
    ConsumerGroup, ErrorKind, EventConsumer, EventPublisher, FailureClass, RawEventConverter,
};
use omni_box_harness::services::local::KafkaServer;
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventPublisher, KafkaPublisherConfig};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, brokers, create_topic, event, publish, read, topic};
use crate::consume::{next, offsets, start};

fn publisher(brokers: &str, properties: &[(&str, &str)]) -> KafkaEventPublisher {
    let config = KafkaPublisherConfig::new(brokers);
    let config = properties.iter().fold(config, |config, (name, value)| config.property(*name, *value));
    KafkaEventPublisher::from_config(config, RawEventConverter).unwrap()
}

fn consumer(brokers: &str, topic: &str, properties: &[(&str, &str)]) -> KafkaConsumerConfig {
    let config = KafkaConsumerConfig::new(brokers, ConsumerGroup::new("g").unwrap(), [topic]);
    properties.iter().fold(config, |config, (name, value)| config.property(*name, *value))
}

fn sasl<'a>(user: &'a str, password: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", user),
        ("sasl.password", password),
    ]
}

/// Nothing is sent, no event is charged, and the check that opens a gate says what is wrong.
async fn is_refused(publisher: &KafkaEventPublisher, topic: &str, kind: ErrorKind, because: &str) {
    for _ in 0..2 {
        let failed = publish(publisher, vec![event(topic, Some("k"), 1)]).await.remove(0).unwrap_err();
        assert_eq!(failed.class(), FailureClass::Infrastructure, "{failed:?}");
        publisher.purge().await;
        let refused = publisher.check().await.unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused:?}");
        let text = refused.chain();
        // the broker's answer may come before or after it hangs up: "SSL handshake failed", or "in state SSL_HANDSHAKE"
        assert!(text.to_lowercase().replace('_', " ").contains(because), "{text}");
        assert!(!text.contains("-secret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_listener_that_is_spoken_to_with_tls_or_sasl_is_named_as_the_fault() {
    let Some(brokers) = brokers() else { return };
    let topic = topic(&brokers, "plain", 1, &[]).await;
    let tls = publisher(&brokers, &[("security.protocol", "ssl")]);
    is_refused(&tls, &topic, ErrorKind::Unavailable, "ssl handshake").await;
    let sasl = publisher(&brokers, &sasl("alice", "alice-secret"));
    is_refused(&sasl, &topic, ErrorKind::Unauthorized, "sasl").await;
    assert!(read(&brokers, &topic).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_hangs_up_is_not_called_at_full_speed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let servers = listener.local_addr().unwrap().to_string();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let hangs_up = tokio::spawn(async move {
        while let Ok((call, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(call);
        }
    });
    let started = Instant::now();
    let mut consumer = start(consumer(&servers, "t", &[("security.protocol", "ssl")])).await;
    let publisher = publisher(&servers, &[("security.protocol", "ssl")]);
    // takes as long as a question to the broker may take
    publisher.check().await.unwrap_err();
    let (calls, seconds) = (calls.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    // three clients, each waits 100 ms or more (less a quarter at random) before it calls again
    let most = (3.0 * 20.0 * seconds) as usize;
    assert!((1..most).contains(&calls), "{calls} calls in {seconds} s");
    consumer.close().await.unwrap();
    hangs_up.abort();
}

/// A broker with a second listener that wants passwords. Its `bob` may do everything; its `alice` has no right to anything.
struct Guarded {
    server: KafkaServer,
    /// Where passwords are wanted.
    listener: String,
    _dir: tempfile::TempDir,
}

async fn guarded() -> Guarded {
    let dir = tempfile::tempdir().unwrap();
    let mut server = KafkaServer::start(dir.path()).await.unwrap();
    server.stop().await.unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listener = format!("127.0.0.1:{port}");
    let properties = dir.path().join("data/server.properties");
    let mut text = String::new();
    for line in std::fs::read_to_string(&properties).unwrap().lines() {
        text.push_str(line);
        match line.split_once('=').unwrap().0 {
            "listeners" | "advertised.listeners" => text.push_str(&format!(",SASL_PLAINTEXT://{listener}")),
            "listener.security.protocol.map" => text.push_str(",SASL_PLAINTEXT:SASL_PLAINTEXT"),
            _ => {}
        }
        text.push('\n');
    }
    text.push_str(
        "sasl.enabled.mechanisms=PLAIN\n\
         listener.name.sasl_plaintext.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required \
         user_alice=\"alice-secret\" user_bob=\"bob-secret\";\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         super.users=User:ANONYMOUS;User:bob\n",
    );
    std::fs::write(&properties, text).unwrap();
    server.start_again().await.unwrap();
    Guarded { server, listener, _dir: dir }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_missing_rights_are_told_apart_and_cost_no_attempt() {
    if brokers().is_none() {
        return;
    }
    let Guarded { server, listener, _dir } = guarded().await;
    create_topic(&server.brokers(), "t", 1, &[]).await;

    is_refused(
        &publisher(&listener, &sasl("bob", "wrong-secret")),
        "t",
        ErrorKind::Unauthorized,
        "authentication",
    )
    .await;
    let mut wrong = start(consumer(&listener, "t", &sasl("bob", "wrong-secret"))).await;
    let refused = timeout(SOON, wrong.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
    wrong.close().await.unwrap();

    // a right that is missing for a topic closes that topic, not the broker
    let alice = publisher(&listener, &sasl("alice", "alice-secret"));
    let failed = publish(&alice, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::TopicUnavailable, "{failed:?}");
    alice.check().await.unwrap();
    let mut barred = start(consumer(&listener, "t", &sasl("alice", "alice-secret"))).await;
    let refused = timeout(SOON, barred.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
    barred.close().await.unwrap();

    let bob = publisher(&listener, &sasl("bob", "bob-secret"));
    publish(&bob, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap();
    let mut member = start(consumer(&listener, "t", &sasl("bob", "bob-secret"))).await;
    let mut partition = next(&mut member).await;
    assert_eq!(offsets(&mut partition, 1).await, [0]);
}
