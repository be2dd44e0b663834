use omni_box_macros::EventSchema;

#[derive(serde::Deserialize, EventSchema)]
#[event(type = "order.placed")]
struct Old {
    id: u64,
}

#[derive(serde::Deserialize, EventSchema)]
#[event(type = "order.placed", upcast_from = Old)]
struct New {
    id: u64,
}

impl From<Old> for New {
    fn from(old: Old) -> Self {
        Self { id: old.id }
    }
}

fn main() {}
