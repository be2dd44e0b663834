//! `POST /orders` and `GET /metrics`.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use omni_box::prometheus::prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tracing::Instrument as _;

use crate::shop::{Order, Shop, place};

/// Both routes.
pub(crate) fn routes<S: Shop>(store: S, topic: String, registry: Registry) -> Router {
    let orders = Router::new().route("/orders", post(order::<S>)).with_state((store, topic));
    Router::new().route("/metrics", get(metrics)).with_state(registry).merge(orders)
}

/// Begins the trace that the order's event keeps.
async fn order<S: Shop>(
    State((store, topic)): State<(S, String)>,
    Json(order): Json<Order>,
) -> (StatusCode, String) {
    let span = tracing::info_span!("request", otel.name = "POST /orders", otel.kind = "server");
    match place(&store, &topic, &order).instrument(span).await {
        Ok(()) => (StatusCode::ACCEPTED, String::new()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// What a Prometheus server asks for.
async fn metrics(State(registry): State<Registry>) -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(page) => (StatusCode::OK, [(header::CONTENT_TYPE, TEXT_FORMAT)], page),
        Err(error) => {
            let kind = [(header::CONTENT_TYPE, "text/plain")];
            (StatusCode::INTERNAL_SERVER_ERROR, kind, error.to_string())
        }
    }
}
