//! Plain async functions are handlers, whatever they return.

use std::convert::Infallible;
use std::time::Duration;

use omni_box_core::{
    Attempt, Error, ErrorKind, HandlerError, HandlerOutcome, InboxContext, InboxHandler, IntoHandlerResult,
    Result, Store, TransientError, WorkerId, handler_fn, typed_handler_fn,
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

async fn run(
    handler: impl InboxHandler<MemoryStore>,
    payload: &str,
) -> (Result<HandlerOutcome, HandlerError>, Vec<String>) {
    // behind `dyn`, as the engine keeps it
    let handler: Box<dyn InboxHandler<MemoryStore>> = Box::new(handler);
    let (store, event, worker_id) = (MemoryStore, inbox_event(payload), WorkerId::new("w").unwrap());
    let mut tx = store.begin_handling(Duration::from_secs(1)).await.unwrap();
    let cx = InboxContext::new(&event, &mut *tx, &store, &worker_id);
    assert!(!format!("{cx:?}").contains(payload));
    let result = handler.handle(cx).await;
    let written = (*tx).clone();
    store.abandon(tx).await;
    (result, written)
}

async fn plain(cx: Context<'_>) {
    write(cx.conn, cx.event.message_id().to_owned()).await;
}

async fn fallible(cx: Context<'_>) -> Result<(), HandlerError> {
    "not a number".parse::<u32>()?;
    write(cx.conn, "unreachable".into()).await;
    Ok(())
}

async fn typed(cx: Context<'_>, order: Order) -> Result<(), Infallible> {
    write(cx.conn, format!("order {} of {}", order.order, cx.worker_id)).await;
    Ok(())
}

async fn outcome(_: Context<'_>) -> HandlerOutcome {
    HandlerOutcome::Stale
}

async fn typed_outcome(cx: Context<'_>, order: Order) -> Result<HandlerOutcome, Error> {
    if order.order == 0 {
        return Ok(HandlerOutcome::Skipped);
    }
    write(cx.conn, "retry".into()).await;
    Ok(HandlerOutcome::retry("later", Attempt::Free, None))
}

async fn transient(_: Context<'_>) -> Result<(), TransientError> {
    Err(TransientError::new("carrier is down"))
}

#[tokio::test]
async fn plain_functions() {
    let (result, written) = run(handler_fn(plain), "null").await;
    assert_eq!((result.unwrap(), written), (HandlerOutcome::Completed, vec!["message-1".to_owned()]));

    let (result, written) = run(handler_fn(fallible), "null").await;
    assert_eq!(result.unwrap_err().into_error(|_| None).kind(), ErrorKind::Handler);
    assert!(written.is_empty());

    assert_eq!(run(handler_fn(outcome), "null").await.0.unwrap(), HandlerOutcome::Stale);
    let error = run(handler_fn(transient), "null").await.0.unwrap_err().into_error(|_| None);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn typed_functions() {
    let (result, written) = run(typed_handler_fn(typed), r#"{"order":7}"#).await;
    assert_eq!((result.unwrap(), written), (HandlerOutcome::Completed, vec!["order 7 of w".to_owned()]));

    let result = run(typed_handler_fn(typed_outcome), r#"{"order":0}"#).await.0;
    assert_eq!(result.unwrap(), HandlerOutcome::Skipped);
    let result = run(typed_handler_fn(typed_outcome), r#"{"order":1}"#).await.0;
    assert!(matches!(result.unwrap(), HandlerOutcome::Retry { attempt: Attempt::Free, after: None, .. }));
}

#[tokio::test]
async fn a_payload_that_does_not_fit_is_a_permanent_failure_before_the_function_runs() {
    for payload in [r#"{"order":"s3cret"}"#, "null", "[]", "{}"] {
        let (result, written) = run(typed_handler_fn(typed), payload).await;
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
        async fn handle(&self, cx: Context<'_>) -> Result<HandlerOutcome, HandlerError> {
            let count = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            write(cx.conn, count.to_string()).await;
            Ok(HandlerOutcome::Completed)
        }
    }
    assert_eq!(run(Counting(5.into()), "null").await.1, ["5"]);
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
