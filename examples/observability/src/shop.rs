//! What an application writes: an order's event, and the handler that ships it.

use omni_box::prelude::*;
use omni_box::store::InboxRepository;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;

use crate::telemetry::trace_id;

/// What is ordered, and the event that says so.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: i64,
}

/// Enqueues an order's event in a transaction of its own, beside the rows of an order that a real shop has.
pub(crate) async fn place<S: Shop>(store: &S, topic: &str, order: &Order) -> omni_box::Result<()> {
    let mut tx = store.begin().await?;
    let event = NewOutboxEvent::new("order.placed", topic, order).partition_key(order.number.to_string());
    store.enqueue(&mut tx, event).await?;
    store.commit(tx).await?;
    tracing::info!(order = order.number, trace_id = trace_id(), "placed");
    Ok(())
}

/// Ships an order, in the transaction that also remembers its message.
pub(crate) async fn ship<S: Shop>(mut cx: InboxContext<'_, S>, order: Order) -> anyhow::Result<()> {
    let shipping = async {
        S::insert_shipment(cx.conn(), &order).await?;
        tracing::info!(order = order.number, trace_id = trace_id(), "shipped");
        Ok(())
    };
    shipping.instrument(tracing::info_span!("ship")).await
}

/// The application's statements, the same for both databases.
pub(crate) trait Shop: OutboxRepository + InboxRepository {
    fn create_table(conn: &mut Self::Conn) -> impl Future<Output = sqlx::Result<()>> + Send;
    fn insert_shipment(conn: &mut Self::Conn, order: &Order)
    -> impl Future<Output = sqlx::Result<()>> + Send;
    fn shipments(conn: &mut Self::Conn) -> impl Future<Output = sqlx::Result<i64>> + Send;
}

macro_rules! shop {
    ($store:ty, $conn:ty) => {
        impl Shop for $store {
            async fn create_table(conn: &mut $conn) -> sqlx::Result<()> {
                let statement = "create table if not exists shipments (number bigint not null)";
                sqlx::query(statement).execute(conn).await?;
                Ok(())
            }

            async fn insert_shipment(conn: &mut $conn, order: &Order) -> sqlx::Result<()> {
                let statement = "insert into shipments (number) values ($1)";
                sqlx::query(statement).bind(order.number).execute(conn).await?;
                Ok(())
            }

            async fn shipments(conn: &mut $conn) -> sqlx::Result<i64> {
                sqlx::query_scalar("select count(*) from shipments").fetch_one(conn).await
            }
        }
    };
}

shop!(omni_box::sqlite::SqliteStore, sqlx::SqliteConnection);
shop!(omni_box::postgres::PgStore, sqlx::PgConnection);
