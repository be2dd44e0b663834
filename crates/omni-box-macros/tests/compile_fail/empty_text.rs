use omni_box_macros::EventSchema;

#[derive(EventSchema)]
#[event(type = "")]
struct Order {
    id: u64,
}

fn main() {}
