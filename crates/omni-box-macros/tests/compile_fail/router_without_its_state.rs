use omni_box::{EventRouter, InboxContext, InboxHandler, State};
use omni_box_testkit::MemoryStore;

async fn ship(_cx: InboxContext<'_, MemoryStore>, _order: u32, _state: State<String>) {}

fn handler(_: impl InboxHandler<MemoryStore>) {}

fn main() {
    handler(EventRouter::<MemoryStore, String>::new().on("orders", "order.placed", ship));
}
