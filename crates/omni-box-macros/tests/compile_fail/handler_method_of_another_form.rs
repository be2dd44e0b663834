use omni_box_macros::event_handlers;

struct Shipping;

#[event_handlers(source = "orders")]
impl Shipping {
    #[event_handler("order.placed")]
    fn ship(&self) {}
}

fn main() {}
