//! Brokers that refuse: a listener without TLS or SASL, a wrong password, a missing right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use omni_box_core::{ErrorKind, EventConsumer, EventPublisher, FailureClass, RawEventConverter};
use omni_box_harness::services::local::Listener;
use omni_box_kafka::{KafkaConsumerConfig, KafkaEventPublisher, KafkaPublisherConfig};
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr::{
    RD_KAFKA_RESP_ERR_NO_ERROR as ALLOWED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as BARRED,
};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::cluster::{SOON, brokers, committed, create_topic, event, publish, read, topic};
use crate::consume::{fill, next, offsets, start};
use crate::own::OwnBroker;

fn publisher(brokers: &str, properties: &[(&str, &str)]) -> KafkaEventPublisher {
    let config = KafkaPublisherConfig::new(brokers);
    let config = properties.iter().fold(config, |config, (name, value)| config.property(*name, *value));
    KafkaEventPublisher::from_config(config, RawEventConverter).unwrap()
}

fn consumer(brokers: &str, topic: &str, properties: &[(&str, &str)]) -> KafkaConsumerConfig {
    let config = KafkaConsumerConfig::new(brokers, "g", [topic]);
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

/// A listener that wants passwords. Its `bob` may do everything; its `alice` has no right to anything.
const PASSWORDS: &str = "sasl.enabled.mechanisms=PLAIN\n\
     listener.name.second.plain.sasl.jaas.config=\
     org.apache.kafka.common.security.plain.PlainLoginModule required \
     user_alice=\"alice-secret\" user_bob=\"bob-secret\";\n\
     authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
     super.users=User:ANONYMOUS;User:bob\n";

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_missing_rights_are_told_apart_and_cost_no_attempt() {
    if brokers().is_none() {
        return;
    }
    let own = OwnBroker::start(
        tempfile::tempdir().unwrap(),
        &Listener { settings: PASSWORDS, ..Listener::new("SASL_PLAINTEXT").unwrap() },
    )
    .await;
    let listener = own.listener.as_str();
    create_topic(&own.server.brokers(), "t", 1, &[]).await;

    is_refused(
        &publisher(listener, &sasl("bob", "wrong-secret")),
        "t",
        ErrorKind::Unauthorized,
        "authentication",
    )
    .await;
    let ends = consumer(listener, "t", &sasl("bob", "wrong-secret")).end_when_refused(true);
    let mut wrong = start(ends).await;
    let refused = timeout(SOON, wrong.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
    wrong.close().await.unwrap();

    // a right that is missing for a topic closes that topic, not the broker
    let alice = publisher(listener, &sasl("alice", "alice-secret"));
    let failed = publish(&alice, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::TopicUnavailable, "{failed:?}");
    alice.check().await.unwrap();
    let mut barred = start(consumer(listener, "t", &sasl("alice", "alice-secret"))).await;
    let refused = timeout(SOON, barred.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
    barred.close().await.unwrap();

    let bob = publisher(listener, &sasl("bob", "bob-secret"));
    publish(&bob, vec![event("t", Some("k"), 1)]).await.remove(0).unwrap();
    let mut member = start(consumer(listener, "t", &sasl("bob", "bob-secret"))).await;
    let mut partition = next(&mut member).await;
    assert_eq!(offsets(&mut partition, 1).await, [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_in_that_is_refused_is_waited_out_until_the_broker_knows_the_password() {
    if brokers().is_none() {
        return;
    }
    let mut own = OwnBroker::start(
        tempfile::tempdir().unwrap(),
        &Listener { settings: PASSWORDS, ..Listener::new("SASL_PLAINTEXT").unwrap() },
    )
    .await;
    create_topic(&own.server.brokers(), "t", 1, &[]).await;
    fill(&own.server.brokers(), "t", 1).await;
    let mut member = start(consumer(&own.listener, "t", &sasl("bob", "next-secret"))).await;
    // several log-ins
    let waits = timeout(Duration::from_secs(5), member.next_partition()).await;
    assert!(waits.is_err(), "{waits:?}");

    own.server.stop().await.unwrap();
    let properties = own.dir.path().join("data/server.properties");
    let changed = std::fs::read_to_string(&properties).unwrap().replace("bob-secret", "next-secret");
    std::fs::write(&properties, changed).unwrap();
    own.server.start_again().await.unwrap();
    let mut partition = next(&mut member).await;
    assert_eq!(offsets(&mut partition, 1).await, [0]);
}

fn of_two_topics(servers: &str) -> KafkaConsumerConfig {
    KafkaConsumerConfig::new(servers, "g", ["open", "barred"])
        .property("topic.metadata.refresh.interval.ms", "200")
        // a second less than this is what a rebalance of the mock takes
        .property("session.timeout.ms", "4000")
        .property("heartbeat.interval.ms", "200")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_not_be_read_holds_up_no_other_and_is_read_once_it_may() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["open", "barred"] {
        cluster.create_topic(topic, 1, 1).unwrap();
        fill(&cluster.bootstrap_servers(), topic, 3).await;
    }
    cluster.topic_error("barred", BARRED).unwrap();
    let mut consumer = start(of_two_topics(&cluster.bootstrap_servers())).await;
    let mut open = next(&mut consumer).await;
    assert_eq!(open.partition.topic, "open");
    assert_eq!(offsets(&mut open, 3).await, [0, 1, 2]);
    let ended = timeout(Duration::from_secs(1), consumer.next_partition()).await;
    assert!(ended.is_err(), "the consumer goes on: {ended:?}");
    open.ack.commit(&[0, 1, 2]).await.unwrap();

    cluster.topic_error("barred", ALLOWED).unwrap();
    let mut barred = next(&mut consumer).await;
    assert_eq!(barred.partition.topic, "barred");
    assert_eq!(offsets(&mut barred, 3).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_may_read_no_topic_at_all_cannot_go_on() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["open", "barred"] {
        cluster.create_topic(topic, 1, 1).unwrap();
        cluster.topic_error(topic, BARRED).unwrap();
    }
    let mut consumer = start(of_two_topics(&cluster.bootstrap_servers())).await;
    let refused = timeout(SOON, consumer.next_partition()).await.expect("told in time").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unauthorized, "{refused:?}");
}

/// Makes a key and a certificate of its own for 127.0.0.1 in `dir`, as a key store and as text.
fn certificate(dir: &std::path::Path) {
    let keytool = std::env::var_os("JAVA_HOME").map(|home| std::path::Path::new(&home).join("bin/keytool"));
    let keytool = keytool.filter(|keytool| keytool.is_file()).unwrap_or_else(|| "keytool".into());
    let run = |args: &str| {
        let store = ["-storetype", "PKCS12", "-keystore", "broker.p12", "-storepass", "store-secret"];
        let mut command = std::process::Command::new(&keytool);
        let output = command.current_dir(dir).args(args.split(' ')).args(store).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run("-genkeypair -alias broker -keyalg EC -dname CN=broker -ext san=ip:127.0.0.1 -validity 2");
    run("-exportcert -alias broker -rfc -file broker.pem");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_compressed_with_zstd_goes_over_tls_and_comes_back() {
    if brokers().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let settings = format!(
        "ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password=store-secret\n",
        dir.path().join("broker.p12").display()
    );
    let pem = dir.path().join("broker.pem");
    let listener = Listener { settings: &settings, ..Listener::new("SSL").unwrap() };
    let own = OwnBroker::start(dir, &listener).await;
    create_topic(&own.server.brokers(), "t", 1, &[]).await;

    // a certificate that no authority has signed
    let distrustful = publisher(&own.listener, &[("security.protocol", "ssl")]);
    is_refused(&distrustful, "t", ErrorKind::Unavailable, "certificate verify failed").await;

    let tls = [("security.protocol", "ssl"), ("ssl.ca.location", pem.to_str().unwrap())];
    let sender =
        publisher(&own.listener, &[tls[0], tls[1], ("compression.type", "zstd"), ("linger.ms", "50")]);
    let events = (0..100).map(|n| event("t", Some("k"), n)).collect();
    assert!(publish(&sender, events).await.iter().all(Result::is_ok));
    // the lowest three bits of a batch's attributes are its compression, and 4 is zstd
    let log = std::fs::read(own.dir.path().join("data/log/t-0/00000000000000000000.log")).unwrap();
    assert_eq!(log[22] & 0b111, 4);

    let certificate = std::fs::read_to_string(&pem).unwrap();
    let tls = [("security.protocol", "ssl"), ("ssl.ca.pem", certificate.as_str())];
    let mut member = start(consumer(&own.listener, "t", &tls)).await;
    let mut partition = next(&mut member).await;
    assert_eq!(offsets(&mut partition, 100).await, (0..100).collect::<Vec<_>>());
    partition.ack.commit(&(0..100).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(committed(&own.server.brokers(), "g", "t", 0).await, Some(100));
}
