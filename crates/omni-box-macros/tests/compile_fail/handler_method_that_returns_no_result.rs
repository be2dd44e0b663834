use omni_box::InboxContext;
use omni_box_macros::event_handlers;
use omni_box_testkit::MemoryStore;

struct Shipping;

#[event_handlers(source = "orders")]
impl Shipping {
    #[event_handler("order.placed")]
    async fn ship(&self, _cx: InboxContext<'_, MemoryStore>) -> u32 {
        7
    }
}

fn main() {}
