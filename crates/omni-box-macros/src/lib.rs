//! The derive macro of omni-box. Use it through the feature `macros` of `omni-box`, which brings it beside the trait of the
//! same name.

mod event_schema;
mod root;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `EventSchema` for a struct or an enum.
///
/// ```
/// use omni_box_core::{EventSchema as _, Payload};
/// use omni_box_macros::EventSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, EventSchema)]
/// #[event(type = "order.placed")]
/// struct OrderPlacedV1 {
///     id: u64,
/// }
///
/// #[derive(Serialize, Deserialize, EventSchema)]
/// #[event(type = "order.placed", version = "2", topic = "orders", key = customer, upcast_from = OrderPlacedV1)]
/// struct OrderPlaced {
///     id: u64,
///     customer: String,
/// }
///
/// impl From<OrderPlacedV1> for OrderPlaced {
///     fn from(old: OrderPlacedV1) -> Self {
///         Self { id: old.id, customer: "unknown".to_owned() }
///     }
/// }
///
/// let old = Payload::from_text(r#"{"id": 7}"#)?;
/// let placed = OrderPlaced::from_version(Some("1.0.0"), &old)?;
/// assert_eq!(placed.partition_key().as_deref(), Some("unknown"));
/// # Ok::<(), omni_box_core::Error>(())
/// ```
///
/// | `#[event(..)]` | meaning | without it |
/// |---|---|---|
/// | `type = ".."` | the event type, 1 to 100 characters | an error |
/// | `version = ".."` | the version of the payload, 1 to 50 characters | 1.0.0 |
/// | `topic = ".."` | the topic its events go to, 1 to 255 characters | each event says its own |
/// | `key = field` | the field whose value is the partition key | no order is asked for |
/// | `key = Self::method` | the function of `&Self` that returns the key | |
/// | `upcast_from = Type` | the type of the next older version, which `From` converts | there is no older version |
/// | `crate = path` | where `omni-box` is, if the name of its package does not say it | found by itself |
///
/// - `type`, `version` and `topic` are literals or constants.
/// - A key is a value of any type that is `Display`: text, an integer, a UUID, a type of your own. A field of the struct itself
///   may be an `Option` of one; `None` is no key. A field of a field is written `key = customer.id`, one of a tuple `key = 0`.
/// - An enum has no fields, so its key comes from a function.
/// - A type of another event in a chain of `upcast_from`, or one of the same version, does not compile.
#[proc_macro_derive(EventSchema, attributes(event))]
pub fn derive_event_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event_schema::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
