use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(type = "order.placed", key = customer)]
struct Order {
    id: u64,
    buyer: String,
}

fn main() {}
