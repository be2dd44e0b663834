//! `#[derive(EventSchema)]`.

mod attributes;
mod key;

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{DeriveInput, Result};

use self::attributes::Attributes;
use crate::root;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let attributes = Attributes::parse(input)?;
    let root = match &attributes.root {
        Some(path) => quote!(#path),
        None => root::find(root::CONTRACTS)?,
    };
    let event_type = &attributes.event_type;
    let version = attributes.version.as_ref().map(|version| {
        quote! { const VERSION: &'static str = #version; }
    });
    let topic = attributes.topic.as_ref().map(|topic| {
        quote! { const TOPIC: ::core::option::Option<&'static str> = ::core::option::Option::Some(#topic); }
    });
    let upcast = attributes.upcast_from.as_ref().map(|older| {
        quote_spanned! { older.span() =>
            const UPCAST: #root::event::Upcast<Self> = #root::event::Upcast::from_older::<#older>();
        }
    });
    let key = attributes.key.as_ref().map(|key| key::method(key, &input.data)).transpose()?;
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    // a constant that nothing uses is not evaluated, and its chain would not be checked
    let check = attributes.upcast_from.as_ref().filter(|_| input.generics.params.is_empty()).map(|older| {
        quote_spanned! { older.span() =>
            const _: #root::event::Upcast<#name> = <#name as #root::event::EventSchema>::UPCAST;
        }
    });
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #root::event::EventSchema for #name #type_generics #where_clause {
            const EVENT_TYPE: &'static str = #event_type;
            #version
            #topic
            #upcast
            #key
        }
        #check
    })
}
