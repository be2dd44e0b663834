//! What an application writes: its own tables, the transaction that places an order, and the handler that ships it.

use omni_box::prelude::*;
use omni_box::store::InboxRepository;
use serde::{Deserialize, Serialize};

/// What is ordered, and the event that says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// Counts all orders, from 1.
    pub(crate) number: i64,
    /// The key of its event: orders of one customer keep their order.
    pub(crate) customer: String,
}

/// Places an order in an open transaction: its row and its event, both or neither.
pub(crate) async fn place<S: Shop>(
    store: &S,
    conn: &mut S::Conn,
    topic: &str,
    order: &Order,
) -> anyhow::Result<OutboxEvent> {
    S::insert_order(conn, order).await?;
    let event = NewOutboxEvent::new("order.placed", topic, order).partition_key(&order.customer);
    Ok(store.enqueue(conn, event).await?.into_event())
}

/// Ships an order, in the transaction that also remembers its message.
pub(crate) async fn ship<S: Shop>(mut cx: InboxContext<'_, S>, order: Order) -> anyhow::Result<()> {
    S::insert_shipment(cx.conn(), &order).await?;
    Ok(())
}

/// The application's statements, the same for both databases.
pub(crate) trait Shop: OutboxRepository + InboxRepository {
    /// Makes the two tables.
    fn create_tables(conn: &mut Self::Conn) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Writes an order's row.
    fn insert_order(conn: &mut Self::Conn, order: &Order) -> impl Future<Output = sqlx::Result<()>> + Send;
    /// Writes a shipment's row; nothing but the inbox keeps it from being written twice.
    fn insert_shipment(conn: &mut Self::Conn, order: &Order)
    -> impl Future<Output = sqlx::Result<()>> + Send;
    /// The numbers of all orders.
    fn orders(conn: &mut Self::Conn) -> impl Future<Output = sqlx::Result<Vec<i64>>> + Send;
    /// The numbers of all orders shipped, once for each shipment.
    fn shipments(conn: &mut Self::Conn) -> impl Future<Output = sqlx::Result<Vec<i64>>> + Send;
}

macro_rules! shop {
    ($store:ty, $conn:ty) => {
        impl Shop for $store {
            async fn create_tables(conn: &mut $conn) -> sqlx::Result<()> {
                sqlx::query("create table orders (number bigint primary key, customer text not null)")
                    .execute(&mut *conn)
                    .await?;
                sqlx::query("create table shipments (number bigint not null)").execute(conn).await?;
                Ok(())
            }

            async fn insert_order(conn: &mut $conn, order: &Order) -> sqlx::Result<()> {
                sqlx::query("insert into orders (number, customer) values ($1, $2)")
                    .bind(order.number)
                    .bind(&order.customer)
                    .execute(conn)
                    .await?;
                Ok(())
            }

            async fn insert_shipment(conn: &mut $conn, order: &Order) -> sqlx::Result<()> {
                sqlx::query("insert into shipments (number) values ($1)")
                    .bind(order.number)
                    .execute(conn)
                    .await?;
                Ok(())
            }

            async fn orders(conn: &mut $conn) -> sqlx::Result<Vec<i64>> {
                sqlx::query_scalar("select number from orders order by number").fetch_all(conn).await
            }

            async fn shipments(conn: &mut $conn) -> sqlx::Result<Vec<i64>> {
                sqlx::query_scalar("select number from shipments order by number").fetch_all(conn).await
            }
        }
    };
}

shop!(omni_box::sqlite::SqliteStore, sqlx::SqliteConnection);
shop!(omni_box::postgres::PgStore, sqlx::PgConnection);
