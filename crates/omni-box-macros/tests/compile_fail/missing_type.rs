use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(topic = "orders")]
struct Order {
    id: u64,
}

fn main() {}
