use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(type = "order.changed", key = id)]
enum Change {
    Placed { id: u64 },
}

fn main() {}
