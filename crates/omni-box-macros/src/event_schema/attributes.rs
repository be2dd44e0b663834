//! What `#[event(..)]` says.

use syn::meta::ParseNestedMeta;
use syn::{DeriveInput, Error, Expr, ExprLit, Lit, Path, Result, Type};

const KNOWN: &str = "`type`, `version`, `topic`, `key`, `upcast_from` and `crate`";

pub(super) struct Attributes {
    pub(super) event_type: Expr,
    pub(super) version: Option<Expr>,
    pub(super) topic: Option<Expr>,
    pub(super) key: Option<Expr>,
    pub(super) upcast_from: Option<Type>,
    pub(super) root: Option<Path>,
}

impl Attributes {
    pub(super) fn parse(input: &DeriveInput) -> Result<Self> {
        let (mut event_type, mut version, mut topic) = (None, None, None);
        let (mut key, mut upcast_from, mut root) = (None, None, None);
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                match name.as_str() {
                    "type" => text(&mut event_type, &meta, 100),
                    "version" => text(&mut version, &meta, 50),
                    "topic" => text(&mut topic, &meta, 255),
                    "key" => set(&mut key, &meta, meta.value()?.parse()?),
                    "upcast_from" => set(&mut upcast_from, &meta, meta.value()?.parse()?),
                    "crate" => set(&mut root, &meta, meta.value()?.call(Path::parse_mod_style)?),
                    _ => Err(meta.error(format!("unknown attribute, known are {KNOWN}"))),
                }
            })?;
        }
        let event_type = event_type.ok_or_else(|| {
            let message = "the event type is missing: add `#[event(type = \"order.placed\")]`, for example";
            Error::new_spanned(&input.ident, message)
        })?;
        Ok(Self { event_type, version, topic, key, upcast_from, root })
    }
}

fn set<T>(slot: &mut Option<T>, meta: &ParseNestedMeta<'_>, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("this attribute is given twice")),
    }
}

/// A text that fits its column, as far as it is a literal; a constant is checked when an event is enqueued.
fn text(slot: &mut Option<Expr>, meta: &ParseNestedMeta<'_>, limit: usize) -> Result<()> {
    let value: Expr = meta.value()?.parse()?;
    match &value {
        Expr::Lit(ExprLit { lit: Lit::Str(literal), .. }) => {
            let length = literal.value().chars().count();
            if length == 0 || length > limit {
                let message = format!("this text has {length} characters, needs 1 to {limit}");
                return Err(Error::new_spanned(literal, message));
            }
        }
        Expr::Path(_) => {}
        other => return Err(Error::new_spanned(other, "this is neither a text nor a constant")),
    }
    set(slot, meta, value)
}
