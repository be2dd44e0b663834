//! Takes orders: the order's row and its event commit together, or neither does.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use omni_box::postgres::{PgConfig, PgStore};
use omni_box::prelude::*;
use orders::OrderPlaced;
use serde::Deserialize;
use sqlx::PgPool;
use uuid::Uuid;

#[derive(Parser)]
struct Args {
    /// The order service's own database.
    #[arg(long, env = "ORDERS_DATABASE_URL")]
    database_url: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Topic of this service's events.
    #[arg(long, env = "ORDERS_TOPIC", default_value = "orders")]
    topic: String,
}

#[derive(Clone)]
struct App {
    pool: PgPool,
    outbox: PgStore,
    domain: OmniBoxDomainService,
    topic: String,
}

#[derive(Deserialize)]
struct PlaceOrder {
    customer: String,
    item: String,
}

async fn place_order(
    State(app): State<App>,
    Json(order): Json<PlaceOrder>,
) -> Result<Json<OrderPlaced>, StatusCode> {
    app.place(order).await.map(Json).map_err(|error| {
        tracing::error!(%error, "order not placed");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}

impl App {
    async fn place(&self, order: PlaceOrder) -> anyhow::Result<OrderPlaced> {
        let mut tx = self.pool.begin().await?;

        // one customer's orders are numbered one after the other
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(&order.customer)
            .execute(&mut *tx)
            .await?;
        let number: i64 = sqlx::query_scalar("select count(*) + 1 from orders where customer = $1")
            .bind(&order.customer)
            .fetch_one(&mut *tx)
            .await?;
        let placed =
            OrderPlaced { order_id: Uuid::now_v7(), customer: order.customer, number, item: order.item };
        sqlx::query("insert into orders (id, customer, number, item) values ($1, $2, $3, $4)")
            .bind(placed.order_id)
            .bind(&placed.customer)
            .bind(placed.number)
            .bind(&placed.item)
            .execute(&mut *tx)
            .await?;

        let event = self.domain.create_outbox_event(
            NewOutboxEvent::new("order.placed", &self.topic, &placed)
                .partition_key(&placed.customer)
                .aggregate("order", placed.order_id),
        )?;
        self.outbox.create(&mut tx, &event).await?;

        tx.commit().await?;
        Ok(placed)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    orders::init_logging();
    let args = Args::parse();
    let pool = PgPool::connect(&args.database_url).await?;
    sqlx::raw_sql(include_str!("../../migrations/orders.sql")).execute(&pool).await?;
    let outbox = PgStore::new(pool.clone(), PgConfig::default());
    outbox.migrate().await?;

    let app = App { pool, outbox, domain: OmniBoxDomainService::default(), topic: args.topic };
    let router = Router::new().route("/orders", post(place_order)).with_state(app);
    let listener = tokio::net::TcpListener::bind(&args.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let shutdown = orders::shutdown_on_signal()?;
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await?;
    Ok(())
}
