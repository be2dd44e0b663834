use omni_box_macros::event_handlers;

struct Shipping;

#[event_handlers]
impl Shipping {
    #[event_handler("order.placed")]
    async fn ship(&self) {}
}

fn main() {}
