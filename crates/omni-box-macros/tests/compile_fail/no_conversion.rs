use omni_box_macros::EventSchema;

#[derive(serde::Deserialize, EventSchema)]
#[event(type = "order.placed")]
struct Old {
    id: u64,
}

#[derive(serde::Deserialize, EventSchema)]
#[event(type = "order.placed", version = "2", upcast_from = Old)]
struct New {
    id: u64,
}

fn main() {}
