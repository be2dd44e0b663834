//! The method that returns an event's key.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, Error, Expr, ExprLit, Field, Fields, Lit, Member, Path, Result, Type};

/// The method `partition_key` for a field, a field of one, or a function.
pub(super) fn method(key: &Expr, data: &Data) -> Result<TokenStream> {
    let body = match key {
        Expr::Path(path) if path.path.get_ident().is_none() => {
            quote_spanned! { key.span() => Some(::std::string::ToString::to_string(&(#path)(self))) }
        }
        _ => value_of(key, data)?,
    };
    Ok(quote! {
        fn partition_key(&self) -> ::core::option::Option<::std::borrow::Cow<'_, str>> {
            let key: ::core::option::Option<::std::string::String> = #body;
            key.map(::std::borrow::Cow::Owned)
        }
    })
}

fn value_of(key: &Expr, data: &Data) -> Result<TokenStream> {
    let field = field_of(key, data)?;
    let place = place(key);
    // only the type of a field of the struct itself is known here
    let optional = !matches!(key, Expr::Field(_)) && is_option(&field.ty);
    Ok(if optional {
        quote_spanned! { key.span() => #place.as_ref().map(::std::string::ToString::to_string) }
    } else {
        quote_spanned! { key.span() => Some(::std::string::ToString::to_string(&#place)) }
    })
}

/// The field of the struct that a key is, or begins with.
fn field_of<'a>(key: &Expr, data: &'a Data) -> Result<&'a Field> {
    let Some(member) = first(key) else {
        return Err(Error::new_spanned(
            key,
            "this is neither a field nor the path of a function, such as `Self::key`",
        ));
    };
    let Data::Struct(data) = data else {
        let message = "only a struct has a field that can be the key: name a function, such as `Self::key`";
        return Err(Error::new_spanned(key, message));
    };
    find(&data.fields, &member).ok_or_else(|| {
        let names: Vec<String> = members(&data.fields).map(|(member, _)| format!("`{}`", shown(&member))).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let message = format!(
            "there is no field `{}`: the fields are {names}; a function is named by its path, such as `Self::key`",
            shown(&member)
        );
        Error::new_spanned(key, message)
    })
}

fn members(fields: &Fields) -> impl Iterator<Item = (Member, &Field)> {
    fields.members().zip(fields)
}

fn find<'a>(fields: &'a Fields, wanted: &Member) -> Option<&'a Field> {
    members(fields).find_map(|(member, field)| (shown(&member) == shown(wanted)).then_some(field))
}

fn shown(member: &Member) -> String {
    match member {
        Member::Named(name) => name.to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

/// The field that a chain of fields begins with.
fn first(key: &Expr) -> Option<Member> {
    match key {
        Expr::Path(path) => path.path.get_ident().cloned().map(Member::Named),
        Expr::Lit(ExprLit { lit: Lit::Int(index), .. }) => {
            Some(Member::Unnamed(index.base10_parse::<usize>().ok()?.into()))
        }
        Expr::Field(field) => first(&field.base),
        _ => None,
    }
}

/// Where the value is.
fn place(key: &Expr) -> TokenStream {
    match key {
        Expr::Field(field) => {
            let (base, member) = (place(&field.base), &field.member);
            quote_spanned! { key.span() => #base.#member }
        }
        _ => quote_spanned! { key.span() => self.#key },
    }
}

fn is_option(field: &Type) -> bool {
    let last = |path: &Path| path.segments.last().is_some_and(|segment| segment.ident == "Option");
    matches!(field, Type::Path(path) if last(&path.path))
}
