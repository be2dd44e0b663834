//! Handlers of several messages at once: one call a group, order and single effects as without, failures charged one by one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use omni_box_core::{
    Attempt, Error, ErrorKind, HandlerError, HandlerOutcome, InboxBatch, InboxContext, InboxEvent, Store,
};
use omni_box_pipeline::{ANY_SOURCE, BatchLayer, EventRouter, HandlerLayer, Next, NextBatch, on_batch};
use serde_json::json;

use super::broker::Broker;
use super::faults::FaultyStore;
use super::service::{GROUP, LONG, Running, Service};

const MESSAGES: usize = 60;

/// Writes an effect for each message, with the number of messages in the batch as its worker.
async fn insert(batch: &mut InboxBatch<'_, FaultyStore>) -> Result<(), HandlerError> {
    let ids: Vec<&str> = batch.events.iter().map(|event| event.message_id()).collect();
    let keys: Vec<Option<&str>> = batch.events.iter().map(|event| event.partition_key()).collect();
    let size = ids.len().to_string();
    let insert = "insert into effects (message_id, key, worker)
        select n.id, n.key, $3 from unnest($1::text[], $2::text[]) with ordinality as n (id, key, place) order by n.place";
    sqlx::query(insert).bind(ids).bind(keys).bind(size).execute(batch.conn()).await?;
    Ok(())
}

async fn run(
    service: &Service,
    router: EventRouter<FaultyStore>,
    event_type: impl Fn(usize) -> &'static str,
) {
    service.execute("truncate effects, inbox_events").await;
    let broker = Broker::new(1);
    for n in 0..MESSAGES {
        let (id, key) = (format!("m{n}"), format!("k{}", n % 3));
        let value = json!({"n": n}).to_string().into_bytes();
        let headers = [("event_id", id.as_str()), ("event_type", event_type(n))];
        broker.send_raw(0, Some(key.as_bytes()), Some(value), &headers);
    }
    let group = omni_box_core::ConsumerGroup::new(GROUP).unwrap();
    let running = Running::new(service.builder_on(broker.consumer(), group).group_size(5).handler(router));
    omni_box_harness::eventually(LONG, async || broker.is_drained()).await;
    running.stop().await;
}

async fn assert_each_once(service: &Service, case: &str, charged: &[(&str, i64)]) {
    for what in
        ["effects", "(select distinct message_id from effects) e", "inbox_events where status = 'completed'"]
    {
        assert_eq!(
            service.count(&format!("select count(*) from {what}")).await,
            MESSAGES as i64,
            "{case}: {what}"
        );
    }
    let displaced = "select count(*) from (select substr(message_id, 2)::int n,
        lag(substr(message_id, 2)::int) over (partition by key order by seq) b from effects) e where n < b";
    assert_eq!(service.count(displaced).await, 0, "{case}: the order of each key");
    let total: i64 = charged.iter().map(|(_, attempts)| attempts).sum();
    let attempts = "select coalesce(sum(attempts_made), 0)::bigint from inbox_events";
    assert_eq!(service.count(attempts).await, total, "{case}: attempts of all");
    for (id, attempts) in charged {
        let of = format!("select attempts_made::bigint from inbox_events where message_id = '{id}'");
        assert_eq!(service.count(&of).await, *attempts, "{case}: attempts of {id}");
    }
}

async fn sizes(service: &Service) -> Vec<(String, i64)> {
    let sizes = "select worker, count(*) from effects group by worker order by worker";
    sqlx::query_as(sizes).fetch_all(service.pool()).await.unwrap()
}

async fn all(mut batch: InboxBatch<'_, FaultyStore>) -> Result<(), HandlerError> {
    insert(&mut batch).await
}

#[tokio::test]
async fn a_group_is_handled_by_one_call_while_messages_succeed() {
    let Some(service) = Service::new(1).await else { return };
    run(&service, on_batch("order.placed", all), |_| "order.placed").await;
    assert_each_once(&service, "all succeed", &[]).await;
    assert_eq!(sizes(&service).await, [("1".into(), 5), ("5".into(), 55)], "the first group has savepoints");
    service.database.close().await.unwrap();
}

async fn single(mut cx: InboxContext<'_, FaultyStore>) -> Result<(), HandlerError> {
    let (id, key) = (cx.event.message_id(), cx.event.partition_key());
    let insert = "insert into effects (message_id, key, worker) values ($1, $2, 'single')";
    sqlx::query(insert).bind(id).bind(key).execute(cx.conn()).await?;
    Ok(())
}

#[tokio::test]
async fn a_batch_ends_where_another_route_begins() {
    let Some(service) = Service::new(1).await else { return };
    let router = EventRouter::new().on_batch(ANY_SOURCE, "many", all).on(ANY_SOURCE, "one", single);
    run(&service, router, |n| if n % 5 == 2 { "one" } else { "many" }).await;
    assert_each_once(&service, "two routes", &[]).await;
    let expected = [("1".into(), 4), ("2".into(), 44), ("single".into(), 12)];
    assert_eq!(sizes(&service).await, expected, "two, a single one, two");
    service.database.close().await.unwrap();
}

/// How the special message ends, until it is charged: functions capture nothing.
static ENDS: AtomicU8 = AtomicU8::new(0);

async fn special(mut batch: InboxBatch<'_, FaultyStore>) -> Result<(), HandlerError> {
    insert(&mut batch).await?;
    let Some(place) = batch.events.iter().position(|event| event.message_id() == "m7") else { return Ok(()) };
    let attempts = "select attempts_made from inbox_events where message_id = 'm7'";
    if sqlx::query_scalar::<_, i32>(attempts).fetch_one(batch.conn()).await? > 0 {
        return Ok(());
    }
    match ENDS.load(Ordering::SeqCst) {
        0 => batch.set(place, HandlerOutcome::retry("not now", Attempt::Counted, None)),
        1 => return Err(Error::new(ErrorKind::Handler, "broken").into()),
        _ => panic!("as the test wants it"),
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_that_fails_charges_one_message_alone() {
    let Some(service) = Service::new(1).await else { return };
    for ends in 0..3 {
        ENDS.store(ends, Ordering::SeqCst);
        run(&service, on_batch("order.placed", special), |_| "order.placed").await;
        assert_each_once(&service, &format!("ends as {ends}"), &[("m7", 1)]).await;
        let batches = "select count(*) from effects where worker = '5'";
        assert!(service.count(batches).await > 0, "ends as {ends}: batches come again");
    }
    service.database.close().await.unwrap();
}

/// Notes the events that it sees, and in how many calls.
#[derive(Clone, Default)]
pub(crate) struct Sees {
    batches: bool,
    calls: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Sees {
    /// Takes batches, or does not.
    pub(crate) fn new(batches: bool) -> Self {
        Self { batches, ..Self::default() }
    }

    fn note(&self, events: &[&InboxEvent]) {
        let ids = events.iter().map(|event| event.message_id().to_owned()).collect();
        self.calls.lock().unwrap().push(ids);
    }

    /// How many calls had so many events.
    fn calls_of(&self, size: usize) -> usize {
        self.calls.lock().unwrap().iter().filter(|ids| ids.len() == size).count()
    }

    fn assert_all_seen(&self, case: &str) {
        let seen: BTreeSet<String> = self.calls.lock().unwrap().iter().flatten().cloned().collect();
        assert_eq!(seen.len(), MESSAGES, "{case}: the layer sees each event");
    }
}

#[async_trait]
impl<S: Store> HandlerLayer<S> for Sees {
    async fn handle(
        &self,
        cx: InboxContext<'_, S>,
        next: Next<'_, S>,
    ) -> Result<HandlerOutcome, HandlerError> {
        self.note(&[cx.event]);
        next.run(cx).await
    }

    fn batches(&self) -> Option<&dyn BatchLayer<S>> {
        self.batches.then_some(self as _)
    }
}

#[async_trait]
impl<S: Store> BatchLayer<S> for Sees {
    async fn handle_batch(
        &self,
        batch: InboxBatch<'_, S>,
        next: NextBatch<'_, S>,
    ) -> Result<(), HandlerError> {
        self.note(batch.events);
        next.run(batch).await
    }
}

#[tokio::test]
async fn a_batch_goes_through_layers_that_take_batches() {
    let Some(service) = Service::new(1).await else { return };
    for takes_batches in [true, false] {
        let (within, around) = (Sees::new(true), Sees::new(takes_batches));
        let layered = on_batch("order.placed", all).layer(within.clone());
        let routers = [
            ("of its own", layered.layer(around.clone())),
            (
                "of a merged router",
                EventRouter::new()
                    .merge(on_batch("order.placed", all).layer(within.clone()))
                    .layer(around.clone()),
            ),
        ];
        for (case, router) in routers {
            for layer in [&within, &around] {
                layer.calls.lock().unwrap().clear();
            }
            run(&service, router, |_| "order.placed").await;
            assert_each_once(&service, case, &[]).await;
            let expected: &[(String, i64)] =
                if takes_batches { &[("1".into(), 5), ("5".into(), 55)] } else { &[("1".into(), 60)] };
            assert_eq!(sizes(&service).await, expected, "{case}, takes batches: {takes_batches}");
            for layer in [&within, &around] {
                layer.assert_all_seen(case);
                assert_eq!(layer.calls_of(5), if takes_batches { 11 } else { 0 }, "{case}");
            }
        }
    }
    service.database.close().await.unwrap();
}
