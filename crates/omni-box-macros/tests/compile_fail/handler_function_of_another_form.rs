use omni_box::EventRouter;
use omni_box_testkit::MemoryStore;

async fn ship(_order: u32) {}

fn main() {
    let _router = EventRouter::<MemoryStore>::new().on("orders", "order.placed", ship);
}
