//! Consumers that are killed, frozen and fed with what no handler can stand.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use omni_box_harness::judge::InboxExpectation;
use omni_box_harness::topic::{self, Message, committed_offsets};

use omni_box_chaos::shop::Shop;
use omni_box_chaos::world::{SETTLES, SOON};

/// While a writer goes on, kills one of two consumers in each turn and replaces it; then waits until everything is handled.
async fn survives_kills(shop: &Shop, turns: usize, of_consumers: &str, of_writer: &str) -> Result<()> {
    let mut consumers = Vec::new();
    for name in ["c0", "c1"] {
        consumers.push(shop.consumer(name, of_consumers).await?);
    }
    let mut writer = shop.writer(of_writer).await?;
    for turn in 0..turns {
        shop.progress(200).await?;
        let victim = &mut consumers[turn % 2];
        victim.kill().await?;
        *victim = shop.consumer(&format!("c{turn}-again"), of_consumers).await?;
    }
    writer.stop().await?;
    shop.settled().await?;
    for consumer in &mut consumers {
        consumer.stop().await?;
    }
    Ok(())
}

/// Messages `m0`, `m1`, .. of seven keys in partition 0, one of which has a body of its own.
fn numbered(count: u32, special: u32, body: &str) -> Vec<Message> {
    let message = |number: u32| Message {
        partition: Some(0),
        key: Some(format!("k{}", number % 7).into_bytes()),
        value: Some(if number == special { body } else { r#"{"n": 1}"# }.into()),
        headers: vec![("message_id".into(), Some(format!("m{number}").into_bytes()))],
    };
    (0..count).map(message).collect()
}

#[tokio::test]
async fn consumers_are_killed_under_load() -> Result<()> {
    let Some(shop) = Shop::new("consumers_are_killed").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    survives_kills(&shop, 5, "", "--tasks 4 --pause-ms 10").await?;
    let verdict = shop.judged().await?;
    ensure!(verdict.effects > 1_000, "too little happened: {verdict}");
    Ok(())
}

/// A consumer stores what comes; of three workers, which handle it, one is killed in each turn. Its claims hold up its keys for a lease.
#[tokio::test]
async fn workers_of_stored_messages_are_killed_under_load() -> Result<()> {
    let Some(shop) = Shop::new("workers_are_killed").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    let mut consumer = shop.consumer("c0", "--store-only").await?;
    let limits = "--handler-timeout-ms 1500 --lease-ttl-ms 3000 --put-off-percent 2";
    let mut workers = Vec::new();
    for number in 0..3 {
        workers.push(shop.worker(&format!("w{number}"), limits).await?);
    }
    let mut writer = shop.writer("--tasks 2 --pause-ms 20 --keys 60").await?;
    for turn in 0..6 {
        shop.progress(100).await?;
        let victim = &mut workers[turn % 3];
        victim.kill().await?;
        *victim = shop.worker(&format!("w{turn}-again"), limits).await?;
    }
    writer.stop().await?;
    shop.settled().await?;
    for worker in &mut workers {
        worker.stop().await?;
    }
    consumer.stop().await?;
    let verdict = shop.judged().await?;
    ensure!(verdict.effects > 500, "too little happened: {verdict}");
    let claimed = "select count(*) from inbox_events where locked_by is not null";
    assert_eq!(shop.shipping.count(claimed).await?, 0, "no claim is left");
    Ok(())
}

#[tokio::test]
async fn consumer_freezes_and_comes_back() -> Result<()> {
    let Some(shop) = Shop::new("consumer_freezes").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    // the server ends what a frozen handler had begun, 5 s after its time is over
    let limit = "--handler-timeout-ms 2000";
    let mut consumers = [shop.consumer("c0", limit).await?, shop.consumer("c1", limit).await?];
    // no more than one consumer can handle, so that little is left when the writer stops
    let mut writer = shop.writer("--tasks 1 --pause-ms 20").await?;
    for (turn, frozen) in consumers.iter().enumerate() {
        shop.progress(300).await?;
        frozen.freeze()?;
        // all partitions again, those of the frozen one too: what is published now is handled by the other
        let other = format!(
            "select count(*) = 4 from inbox_partitions where worker like 'c{}/%' and not clean",
            1 - turn
        );
        shop.shipping.until(SETTLES, other).await;
        shop.progress(300).await?;
        frozen.thaw()?;
        shop.progress(100).await?;
    }
    writer.stop().await?;
    shop.settled().await?;
    for consumer in &mut consumers {
        consumer.stop().await?;
    }
    shop.judged().await?;
    Ok(())
}

#[tokio::test]
async fn group_rebalances_around_a_slow_handler() -> Result<()> {
    let Some(shop) = Shop::new("group_rebalances").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    let mut steady = shop.consumer("c0", "--slow-ms 20").await?;
    let mut writer = shop.writer("--tasks 1 --pause-ms 50").await?;
    for turn in 1..4 {
        shop.progress(30).await?;
        let mut guest = shop.consumer(&format!("c{turn}"), "--slow-ms 100").await?;
        shop.shipping
            .until(SOON, format!("select count(*) > 0 from inbox_partitions where worker like 'c{turn}/%'"))
            .await;
        shop.progress(30).await?;
        guest.stop().await?;
    }
    writer.stop().await?;
    shop.settled().await?;
    steady.stop().await?;
    shop.judged().await?;
    Ok(())
}

/// Whether a consumer's handler is inside its query.
fn is_inside_a_query(name: &str) -> String {
    format!(
        "select exists (select from pg_stat_activity where datname = current_database()
                        and application_name = '{name}' and query like '%pg_sleep%')"
    )
}

/// The server goes on with the query, and the message's row stays locked meanwhile.
#[tokio::test]
async fn consumer_is_killed_inside_a_query() -> Result<()> {
    let Some(shop) = Shop::new("consumer_is_killed_inside_a_query").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    shop.write("--tasks 1 --transactions 10").await?;
    shop.ordering.settled().await;
    let mut consumer = shop.consumer("c0", "--query-ms 5000").await?;
    shop.shipping.until(SOON, is_inside_a_query("c0")).await;
    consumer.kill().await?;
    let mut consumer = shop.consumer("c1", "").await?;
    shop.settled().await?;
    consumer.stop().await?;
    shop.judged().await?;
    Ok(())
}

/// A frozen consumer may yet commit what it has begun, whether the rows were there before or are of the same transaction.
#[tokio::test]
async fn successor_waits_for_what_a_frozen_consumer_has_begun() -> Result<()> {
    for policy in ["--policy OnPersist", "--policy OnSuccess"] {
        let Some(mut shop) = Shop::new("successor_waits").await? else { return Ok(()) };
        // so that there is one transaction to wait for
        shop.orders = shop.ordering.topic("orders", 1).await?;
        let _relays = shop.relays().await?;
        shop.write("--tasks 1 --transactions 10").await?;
        shop.ordering.settled().await;
        let mut frozen = shop.consumer("c0", &format!("{policy} --query-ms 3000")).await?;
        shop.shipping.until(SOON, is_inside_a_query("c0")).await;
        frozen.freeze()?;
        let mut successor = shop.consumer("c1", policy).await?;
        let waits = "select exists (select from pg_stat_activity where datname = current_database()
                                    and application_name = 'c1' and wait_event_type = 'Lock')";
        shop.shipping.until(SOON, waits).await;
        frozen.thaw()?;
        frozen.stop().await?;
        shop.settled().await?;
        successor.stop().await?;
        shop.judged().await?;
    }
    Ok(())
}

#[tokio::test]
async fn handler_fails_a_few_times() -> Result<()> {
    let Some(shop) = Shop::new("handler_fails_a_few_times").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    let mut consumer = shop.consumer("c0", "--fail-times 2").await?;
    shop.write("--tasks 1 --keys 5 --transactions 5").await?;
    shop.settled().await?;
    consumer.stop().await?;
    shop.judged().await?;
    // a failure behind others in one transaction may be theirs: it costs nothing, and the message goes alone next
    let odd = "select count(*) from inbox_events where attempts_made not between 1 and 2";
    assert_eq!(shop.shipping.count(odd).await?, 0);
    Ok(())
}

/// What waits behind a message that is put off was received and, beyond the first group, not stored: only its offset, which must not
/// be passed, keeps it.
#[tokio::test]
async fn consumer_is_killed_while_a_key_waits() -> Result<()> {
    let Some(shop) = Shop::new("killed_while_a_key_waits").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    topic::produce(&shop.shipping.brokers, &shop.orders, &numbered(420, 5, r#"{"act": "put_off"}"#)).await?;
    for name in ["c0", "c1"] {
        let mut consumer = shop.consumer(name, "").await?;
        shop.shipping
            .until(
                SOON,
                format!(
                    "select count(*) = 1 from inbox_partitions where worker like '{name}/%' and partition = 0"
                ),
            )
            .await;
        shop.shipping.until(SOON, "select count(*) = 360 from chaos_effects").await;
        // being put off costs no attempt; one that is under way may be counted for a moment
        let put_off = "select count(*) = 1 from inbox_events where message_id = 'm5' and attempts_made = 0";
        shop.shipping.until(SOON, put_off).await;
        consumer.kill().await?;
    }
    let mut consumer = shop.consumer("c2", "--accept").await?;
    shop.shipping.until(SETTLES, "select count(*) = 420 from chaos_effects").await;
    shop.shipping.settled().await;
    consumer.stop().await?;
    shop.judged().await?;
    Ok(())
}

/// Messages of a partition are done out of order all the time, because some are put off; behind each, its key waits unstored. A
/// position that passes one of them loses it with the process.
#[tokio::test]
async fn consumers_are_killed_while_keys_wait() -> Result<()> {
    let Some(shop) = Shop::new("killed_while_keys_wait").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    survives_kills(&shop, 4, "--put-off-percent 10", "--keys 40 --tasks 1 --pause-ms 20").await?;
    shop.judged().await?;
    Ok(())
}

#[tokio::test]
async fn message_that_aborts_the_process_is_parked() -> Result<()> {
    let Some(shop) = Shop::new("message_that_aborts").await? else { return Ok(()) };
    let _relays = shop.relays().await?;
    topic::produce(&shop.shipping.brokers, &shop.orders, &numbered(60, 20, r#"{"act": "abort"}"#)).await?;

    // a supervisor that starts it again each time
    let mut deaths = 0;
    let mut consumer = shop.consumer("c0", "").await?;
    let parked = "select count(*) from inbox_events where message_id = 'm20' and status = 'failed'";
    let deadline = tokio::time::Instant::now() + SETTLES;
    while shop.shipping.count(parked).await? == 0 {
        ensure!(tokio::time::Instant::now() < deadline, "not parked after {deaths} deaths");
        if !consumer.is_running()? {
            deaths += 1;
            consumer = shop.consumer("c0", "").await?;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    shop.shipping.until(SOON, "select count(*) = 59 from chaos_effects").await;
    shop.shipping.settled().await;
    consumer.stop().await?;
    println!("parked after {deaths} deaths");
    let expected = InboxExpectation { parked: BTreeSet::from(["m20".into()]), ..shop.expectation() };
    shop.judged_with(expected).await?;
    Ok(())
}

#[tokio::test]
async fn hostile_messages_stop_nothing() -> Result<()> {
    let Some(mut shop) = Shop::new("hostile_messages").await? else { return Ok(()) };
    let brokers = shop.shipping.brokers.clone();
    shop.orders = topic::create_topic(&brokers, "hostile", 1, &[("max.message.bytes", "4000000")]).await?;
    let _relays = shop.relays().await?;
    let plain =
        Message { key: Some(b"k".to_vec()), value: Some(br#"{"n": 1}"#.to_vec()), ..Message::default() };
    let header = |name: &str, value: &[u8]| vec![(name.to_owned(), Some(value.to_vec()))];
    let value = |value: &[u8]| Message { value: Some(value.to_vec()), ..plain.clone() };
    let huge = format!(r#"{{"text": "{}"}}"#, "x".repeat(2_000_000));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "h".repeat(10_000);
    let cases: Vec<(&str, Message, Fate)> = vec![
        ("2 MB", value(huge.as_bytes()), Fate::Handled),
        ("an array", value(b"[1, 2]"), Fate::Handled),
        ("a number beyond 2^53", value(b"123456789012345678901234567890"), Fate::Handled),
        ("no JSON", value(b"{oops"), Fate::Quarantined),
        ("empty value", value(b""), Fate::Quarantined),
        ("null value", Message { value: None, ..plain.clone() }, Fate::Handled),
        ("broken UTF-8 in the value", value(b"{\"a\": \"\xff\xfe\"}"), Fate::Quarantined),
        ("zero character in the value", value(br#"{"a": "\u0000"}"#), Fate::Quarantined),
        ("deep nesting", value(deep.as_bytes()), Fate::Quarantined),
        ("broken UTF-8 in the key", Message { key: Some(vec![0xff, 0xfe]), ..plain.clone() }, Fate::Handled),
        ("zero byte in the key", Message { key: Some(vec![0, 1]), ..plain.clone() }, Fate::Handled),
        ("no key", Message { key: None, ..plain.clone() }, Fate::Handled),
        ("empty key", Message { key: Some(Vec::new()), ..plain.clone() }, Fate::Handled),
        ("long header", Message { headers: header(&long, long.as_bytes()), ..plain.clone() }, Fate::Handled),
        ("binary header", Message { headers: header("x", &[0, 0xff]), ..plain.clone() }, Fate::Handled),
        ("null header", Message { headers: vec![("x".into(), None)], ..plain.clone() }, Fate::Handled),
        (
            "many headers",
            Message { headers: vec![("x".into(), Some(vec![b'y'])); 500], ..plain.clone() },
            Fate::Handled,
        ),
        (
            "long trace id",
            Message { headers: header("trace_id", long.as_bytes()), ..plain.clone() },
            Fate::Handled,
        ),
        (
            "long message id",
            Message { headers: header("message_id", long.as_bytes()), ..plain.clone() },
            Fate::Quarantined,
        ),
        (
            "long event type",
            Message { headers: header("event_type", long.as_bytes()), ..plain.clone() },
            Fate::Quarantined,
        ),
        ("the last, as it should be", plain.clone(), Fate::Handled),
    ];
    let messages: Vec<Message> = cases.iter().map(|(_, message, _)| message.clone()).collect();
    let places = topic::produce(&brokers, &shop.orders, &messages).await?;

    let mut consumer = shop.consumer("c0", "").await?;
    let done = format!(
        "select (select count(*) from chaos_effects) + (select count(*) from inbox_quarantine) >= {}",
        cases.len()
    );
    shop.shipping.until(SETTLES, done).await;
    shop.shipping.settled().await;
    consumer.stop().await?;

    let position = |(partition, offset): &(i32, i64)| format!("{}:{partition}:{offset}", shop.orders);
    let quarantined: BTreeSet<String> = places
        .iter()
        .zip(&cases)
        .filter(|(_, (_, _, fate))| *fate == Fate::Quarantined)
        .map(|(place, _)| position(place))
        .collect();
    for (place, (name, _, fate)) in places.iter().zip(&cases) {
        println!("{}: {name}: {fate:?}", position(place));
    }
    shop.judged_with(InboxExpectation { quarantined, ..shop.expectation() }).await?;
    let committed = committed_offsets(&brokers, &shop.group, &shop.orders).await?;
    assert_eq!(committed.values().sum::<i64>(), cases.len() as i64);
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Handled,
    Quarantined,
}
