//! Plain async functions are handlers, whatever they return.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Attempt, Error, ErrorKind, EventFn, FromRef, HandlerError, HandlerOutcome, InboxContext, InboxHandler,
    IntoHandlerResult, PermanentError, Result, State, Store, TransientError, WorkerId,
};
use serde::Deserialize;

use crate::inbox_event;

/// A store whose connection is a list of what was written.
#[derive(Debug, Clone, Default)]
struct MemoryStore;

impl Store for MemoryStore {
    type Conn = Vec<String>;
    type Tx = Box<Vec<String>>;

    async fn begin(&self) -> Result<Self::Tx> {
        Ok(Box::default())
    }

    async fn commit(&self, _tx: Self::Tx) -> Result<()> {
        Ok(())
    }

    async fn rollback(&self, _tx: Self::Tx) -> Result<()> {
        Ok(())
    }
}

type Context<'a> = InboxContext<'a, MemoryStore>;

#[derive(Debug, Deserialize)]
struct Order {
    order: u32,
}

/// Borrows across an await, as a query does.
async fn write(conn: &mut Vec<String>, line: String) {
    tokio::task::yield_now().await;
    conn.push(line);
}

/// As a router calls it.
async fn run_with<M, D: Sync>(
    function: impl EventFn<M, MemoryStore, D>,
    state: &D,
    payload: &str,
) -> (Result<HandlerOutcome, HandlerError>, Vec<String>) {
    let (store, event, worker_id) = (MemoryStore, inbox_event(payload), WorkerId::new("w").unwrap());
    let mut tx = store.begin_handling(Duration::from_secs(1)).await.unwrap();
    let cx = InboxContext::new(&event, &mut *tx, &store, &worker_id);
    assert!(!format!("{cx:?}").contains(payload));
    let result = match function.decode(&event) {
        Ok(payload) => function.call(cx, payload, state).await,
        Err(error) => Err(error),
    };
    let written = (*tx).clone();
    store.abandon(tx).await;
    (result, written)
}

async fn run<M>(
    function: impl EventFn<M, MemoryStore>,
    payload: &str,
) -> (Result<HandlerOutcome, HandlerError>, Vec<String>) {
    run_with(function, &(), payload).await
}

async fn plain(mut cx: Context<'_>) {
    let id = cx.event.message_id().to_owned();
    write(cx.conn(), id).await;
}

async fn fallible(mut cx: Context<'_>) -> Result<(), HandlerError> {
    "not a number".parse::<u32>()?;
    write(cx.conn(), "unreachable".into()).await;
    Ok(())
}

async fn typed(mut cx: Context<'_>, order: Order) -> Result<(), Infallible> {
    let line = format!("order {} of {}", order.order, cx.worker_id);
    write(cx.conn(), line).await;
    Ok(())
}

async fn outcome(_: Context<'_>) -> HandlerOutcome {
    HandlerOutcome::Stale
}

async fn typed_outcome(mut cx: Context<'_>, order: Order) -> Result<HandlerOutcome, Error> {
    if order.order == 0 {
        return Ok(HandlerOutcome::Skipped);
    }
    write(cx.conn(), "retry".into()).await;
    Ok(HandlerOutcome::retry("later", Attempt::Free, None))
}

async fn transient(_: Context<'_>) -> Result<(), TransientError> {
    Err(TransientError::new("carrier is down"))
}

#[tokio::test]
async fn plain_functions() {
    let (result, written) = run(plain, "null").await;
    assert_eq!((result.unwrap(), written), (HandlerOutcome::Completed, vec!["message-1".to_owned()]));

    let (result, written) = run(fallible, "null").await;
    assert_eq!(result.unwrap_err().into_error(|_| None).kind(), ErrorKind::Handler);
    assert!(written.is_empty());

    assert_eq!(run(outcome, "null").await.0.unwrap(), HandlerOutcome::Stale);
    let error = run(transient, "null").await.0.unwrap_err().into_error(|_| None);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn typed_functions() {
    let (result, written) = run(typed, r#"{"order":7}"#).await;
    assert_eq!((result.unwrap(), written), (HandlerOutcome::Completed, vec!["order 7 of w".to_owned()]));

    let result = run(typed_outcome, r#"{"order":0}"#).await.0;
    assert_eq!(result.unwrap(), HandlerOutcome::Skipped);
    let result = run(typed_outcome, r#"{"order":1}"#).await.0;
    assert!(matches!(result.unwrap(), HandlerOutcome::Retry { attempt: Attempt::Free, after: None, .. }));
}

#[tokio::test]
async fn a_payload_that_does_not_fit_is_a_permanent_failure_before_the_function_runs() {
    for payload in [r#"{"order":"s3cret"}"#, "null", "[]", "{}"] {
        let (result, written) = run(typed, payload).await;
        let error = result.unwrap_err().into_error(|_| None);
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
        assert!(!error.chain().contains("s3cret") && error.chain().contains("Order"), "{error:?}");
        assert!(written.is_empty());
    }
}

#[tokio::test]
async fn a_type_of_one_s_own_with_state() {
    struct Counting(std::sync::atomic::AtomicU32);

    #[async_trait::async_trait]
    impl InboxHandler<MemoryStore> for Counting {
        async fn handle(&self, mut cx: Context<'_>) -> Result<HandlerOutcome, HandlerError> {
            let count = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            write(cx.conn(), count.to_string()).await;
            Ok(HandlerOutcome::Completed)
        }
    }
    assert_eq!(run(Counting(5.into()), "null").await.1, ["5"]);
    let shared: Arc<dyn InboxHandler<MemoryStore>> = Arc::new(Counting(7.into()));
    assert_eq!(run(Arc::clone(&shared), "null").await.1, ["7"]);
    let boxed: Box<dyn InboxHandler<MemoryStore>> = Box::new(shared);
    assert_eq!(run(boxed, "null").await.1, ["8"]);
}

#[test]
fn every_return_type() {
    let completed =
        |result: Result<HandlerOutcome, HandlerError>| result.unwrap() == HandlerOutcome::Completed;
    assert!(completed(().into_handler_result()));
    assert!(completed(HandlerOutcome::Completed.into_handler_result()));
    assert!(completed(Ok::<(), HandlerError>(()).into_handler_result()));
    assert!(completed(Ok::<_, Infallible>(HandlerOutcome::Completed).into_handler_result()));
    assert!(completed(Ok::<Result<(), std::fmt::Error>, Error>(Ok(())).into_handler_result()));
    Err::<(), _>(std::fmt::Error).into_handler_result().unwrap_err();
}

#[derive(Clone)]
struct App {
    carrier: Carrier,
}

#[derive(Clone)]
struct Carrier(&'static str);

impl FromRef<App> for Carrier {
    fn from_ref(app: &App) -> Self {
        app.carrier.clone()
    }
}

async fn with_part(
    mut cx: Context<'_>,
    order: Order,
    State(Carrier(name)): State<Carrier>,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    write(cx.conn(), format!("{} by {name}", order.order)).await;
    Ok(())
}

#[tokio::test]
async fn a_function_takes_the_state_or_a_part_of_it() {
    let app = App { carrier: Carrier("train") };
    assert_eq!(run_with(with_part, &app, r#"{"order":7}"#).await.1, ["7 by train"]);
    assert_eq!(run_with(with_part, &Carrier("ship"), r#"{"order":7}"#).await.1, ["7 by ship"]);
}

#[tokio::test]
async fn an_async_closure_is_a_function() {
    let closure = async |mut cx: Context<'_>, order: Order| {
        write(cx.conn(), order.order.to_string()).await;
        write(cx.reborrow().conn(), "again".into()).await;
        let id = cx.event.message_id().to_owned();
        write(cx.conn(), id).await;
    };
    assert_eq!(run(closure, r#"{"order":7}"#).await.1, ["7", "again", "message-1"]);
}

/// The kind of a failure is found through the types that wrap it.
#[test]
fn any_error_type_will_do_and_what_it_costs_is_found_in_it() {
    fn kind<E: Into<Box<dyn StdError + Send + Sync>> + 'static>(error: E) -> ErrorKind {
        Err::<(), E>(error).into_handler_result().unwrap_err().into_error(|_| None).kind()
    }
    fn wrapped(error: impl StdError + Send + Sync + 'static) -> ErrorKind {
        kind(anyhow::Error::new(error).context("shipping"))
    }
    assert_eq!(wrapped(PermanentError::new("never")), ErrorKind::Rejected);
    assert_eq!(wrapped(TransientError::new("not now")), ErrorKind::Unavailable);
    assert_eq!(wrapped(Error::new(ErrorKind::Contention, "deadlock")), ErrorKind::Contention);
    assert_eq!(wrapped(Error::new(ErrorKind::Misconfigured, "no table")), ErrorKind::Handler);
    assert_eq!(wrapped(std::fmt::Error), ErrorKind::Handler);

    // anyhow and eyre hide the type of their outermost error from whatever gets them in a box
    fn bare(error: impl StdError + Send + Sync + 'static) -> ErrorKind {
        kind(anyhow::Error::new(error))
    }
    assert_eq!(bare(PermanentError::new("never")), ErrorKind::Rejected);
    assert_eq!(bare(TransientError::new("not now")), ErrorKind::Unavailable);
    assert_eq!(bare(Error::new(ErrorKind::Contention, "deadlock")), ErrorKind::Contention);
    let native = Err::<(), _>(anyhow::Error::new(std::fmt::Error)).into_handler_result().unwrap_err();
    let classified =
        native.into_error(|error| error.is::<std::fmt::Error>().then_some(ErrorKind::Unavailable));
    assert_eq!(classified.kind(), ErrorKind::Unavailable, "a database's own error is found as well");
    assert_eq!(kind(eyre::Report::new(PermanentError::new("never"))), ErrorKind::Rejected);
    assert_eq!(kind(eyre::Report::new(TransientError::new("not now"))), ErrorKind::Unavailable);
    let text =
        Err::<(), _>(anyhow::Error::new(PermanentError::new("never"))).into_handler_result().unwrap_err();
    assert_eq!(text.into_error(|_| None).chain(), "handler failed: permanent failure: never");

    let boxed: Box<dyn StdError + Send + Sync> = HandlerError::permanent("never").into();
    assert_eq!(kind(boxed), ErrorKind::Rejected);
    assert_eq!(kind(HandlerError::transient("not now")), ErrorKind::Unavailable);
    assert_eq!(kind("text will do"), ErrorKind::Handler);
}
