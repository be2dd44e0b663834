//! Macros of omni-box. Use them through the feature `macros` of `omni-box`, which brings the derive beside the trait of the
//! same name.

mod event_handlers;
mod event_schema;
mod root;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemImpl, parse_macro_input};

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
///   may be an `Option` of one; `None` means that there is no key. A field of a field is written `key = customer.id`, one of a tuple `key = 0`.
/// - An enum has no fields, so its key comes from a function.
/// - A type of another event in a chain of `upcast_from`, or one of the same version, does not compile.
#[proc_macro_derive(EventSchema, attributes(event))]
pub fn derive_event_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event_schema::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Makes the marked methods of a type handlers of a source's events: implements `EventHandlers`, for `EventRouter::handlers`.
///
/// ```
/// use omni_box::{EventRouter, InboxContext};
/// use omni_box_macros::event_handlers;
/// use omni_box_testkit::MemoryStore;
///
/// #[derive(serde::Deserialize)]
/// struct OrderPlaced {
///     id: u64,
/// }
///
/// struct Shipping {
///     carrier: &'static str,
/// }
///
/// #[event_handlers(source = "orders")]
/// impl Shipping {
///     #[event_handler("order.placed")]
///     async fn ship(&self, mut cx: InboxContext<'_, MemoryStore>, order: OrderPlaced) -> omni_box::Result<()> {
///         cx.conn().insert("shipments", &order.id.to_string(), &self.carrier).await
///     }
///
///     #[event_handler("order.cancelled", version = "2")]
///     async fn cancel(&self, _cx: InboxContext<'_, MemoryStore>) {}
/// }
///
/// let router: EventRouter<MemoryStore> = EventRouter::new().handlers(Shipping { carrier: "post" });
/// assert_eq!(router.event_types("orders"), ["order.cancelled", "order.placed"]);
/// ```
///
/// - A handler is an `async fn(&self, cx)` or an `async fn(&self, cx, payload)`; it returns what a handler function may return.
/// - A payload that does not fit fails the message at once, before the method runs.
/// - Without `version`, a method takes every version. Two methods for one type and version are an error of `build()`.
/// - All methods are of one store, written as `InboxContext<'_, Store>`.
/// - `crate = path` says where `omni-box` is, if the name of its package does not say it.
#[proc_macro_attribute]
pub fn event_handlers(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let mut settings = event_handlers::Settings::default();
    let parser = syn::meta::parser(|meta| settings.parse(&meta));
    parse_macro_input!(attributes with parser);
    let block = parse_macro_input!(item as ItemImpl);
    event_handlers::expand(&settings, block).unwrap_or_else(syn::Error::into_compile_error).into()
}
