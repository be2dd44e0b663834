use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(type = "order.placed", key = lines)]
struct Order {
    lines: Vec<u64>,
}

fn main() {}
