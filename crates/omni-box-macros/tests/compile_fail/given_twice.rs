use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(type = "order.placed", version = "1")]
#[event(version = "2")]
struct Order {
    id: u64,
}

fn main() {}
