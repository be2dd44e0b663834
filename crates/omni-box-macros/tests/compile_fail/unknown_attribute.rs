use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(type = "order.placed", partition = id)]
struct Order {
    id: u64,
}

fn main() {}
