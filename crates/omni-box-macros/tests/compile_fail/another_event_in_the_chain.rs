use omni_box_macros::EventSchema;

#[derive(serde::Deserialize, EventSchema)]
#[event(type = "order.cancelled")]
struct Cancelled {
    id: u64,
}

#[derive(serde::Deserialize, EventSchema)]
#[event(type = "order.placed", version = "2", upcast_from = Cancelled)]
struct Placed {
    id: u64,
}

impl From<Cancelled> for Placed {
    fn from(old: Cancelled) -> Self {
        Self { id: old.id }
    }
}

fn main() {}
