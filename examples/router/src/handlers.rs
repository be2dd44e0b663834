//! What an application writes: a function or a method for each type of event, and the router that binds them.

use std::marker::PhantomData;

use omni_box::event_handlers;
use omni_box::handler::FromRef;
use omni_box::prelude::*;
use tokio::sync::mpsc::UnboundedSender;

use crate::events::{OrderCancelled, OrderPlaced, OrderShipped};

/// What the handlers need.
#[derive(Clone)]
pub(crate) struct App {
    /// The topic of all events.
    pub(crate) topic: String,
    pub(crate) desk: Desk,
}

/// Where handlers say what they have done.
#[derive(Clone)]
pub(crate) struct Desk(pub(crate) UnboundedSender<String>);

impl Desk {
    fn note(&self, line: String) {
        // the program has stopped listening when it has heard everything
        let _ = self.0.send(line);
    }
}

/// A handler may ask for a part of the state.
impl FromRef<App> for Desk {
    fn from_ref(app: &App) -> Self {
        app.desk.clone()
    }
}

/// Ships an order, and says so to the world: the event commits with the message, and names it as its cause.
async fn ship<S: OutboxRepository>(
    mut cx: InboxContext<'_, S>,
    order: OrderPlaced,
    State(app): State<App>,
) -> anyhow::Result<()> {
    let shipped = OrderShipped { number: order.number, customer: order.customer };
    cx.enqueue(shipped.event().topic(&app.topic)).await?;
    let version = cx.event.content().version();
    app.desk.note(format!(
        "shipped    order {}: {} for {} (order.placed of version {version})",
        order.number, order.item, shipped.customer
    ));
    Ok(())
}

async fn cancel<S: Store>(_cx: InboxContext<'_, S>, order: OrderCancelled, State(desk): State<Desk>) {
    desk.note(format!("cancelled  order {}: {} for {}", order.number, order.item, order.customer));
}

/// Handlers that are methods, with a state of their own.
struct Support<S> {
    desk: Desk,
    store: PhantomData<fn() -> S>,
}

#[event_handlers(source = "orders")]
impl<S: Store> Support<S> {
    #[event_handler("order.shipped")]
    async fn tell_customer(&self, cx: InboxContext<'_, S>, shipped: OrderShipped) {
        let cause = if cx.event.content().causation_id.is_some() { "an order" } else { "nothing" };
        self.desk.note(format!(
            "told       {}: order {} is on its way, caused by {cause}",
            shipped.customer, shipped.number
        ));
    }
}

/// Each function with its events.
pub(crate) fn router<S: OutboxRepository>(app: App) -> EventRouter<S> {
    let support = Support { desk: app.desk.clone(), store: PhantomData };
    EventRouter::new()
        .on_event("orders", ship::<S>)
        .on("orders", "order.cancelled", cancel::<S>)
        .handlers(support)
        .unhandled(Unhandled::Skip)
        // a topic of its own for each run, and one name for all of them
        .normalize_source(|topic| topic.split('_').next().unwrap_or(topic).to_owned())
        .with_state(app)
}
