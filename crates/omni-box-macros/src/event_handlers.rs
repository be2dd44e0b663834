//! `#[event_handlers]`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, ItemImpl, Path,
    PathArguments, Result, Token, Type,
};

use crate::root;

const FORMS: &str = "a handler is an `async fn(&self, cx: InboxContext<'_, S>)` or \
                     an `async fn(&self, cx: InboxContext<'_, S>, payload: P)`";

/// What `#[event_handlers(..)]` says.
#[derive(Default)]
pub(crate) struct Settings {
    source: Option<Expr>,
    root: Option<Path>,
}

impl Settings {
    pub(crate) fn parse(&mut self, meta: &syn::meta::ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("source") {
            self.source = Some(meta.value()?.parse()?);
        } else if meta.path.is_ident("crate") {
            self.root = Some(meta.value()?.call(Path::parse_mod_style)?);
        } else {
            return Err(meta.error("unknown attribute, known are `source` and `crate`"));
        }
        Ok(())
    }
}

/// A method and what its events are.
struct Handler {
    name: Ident,
    event_type: Expr,
    version: Option<Expr>,
    context: Type,
    payload: Option<Type>,
}

/// The impl block as it is, and the routes of its marked methods.
pub(crate) fn expand(settings: &Settings, mut block: ItemImpl) -> Result<TokenStream> {
    let Some(source) = &settings.source else {
        let message = "the source is missing: write `#[event_handlers(source = \"orders\")]`, for example";
        return Err(Error::new_spanned(&block.self_ty, message));
    };
    let mut handlers = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(method) = item
            && let Some(at) =
                method.attrs.iter().position(|attribute| attribute.path().is_ident("event_handler"))
        {
            let attribute = method.attrs.remove(at);
            handlers.push(Handler::parse(&attribute, method)?);
        }
    }
    let Some(first) = handlers.first() else {
        let message = "no method is marked by `#[event_handler(\"..\")]`";
        return Err(Error::new_spanned(&block.self_ty, message));
    };
    let (router, contracts) = match &settings.root {
        Some(path) => (quote!(#path), quote!(#path)),
        None => (root::find(root::ROUTER)?, root::find(root::CONTRACTS)?),
    };
    let store = store(&first.context)?;
    let routes = handlers.iter().map(|handler| handler.route(&contracts, source));
    let target = &block.self_ty;
    let (impl_generics, _, where_clause) = block.generics.split_for_impl();
    Ok(quote! {
        #block

        impl #impl_generics #router::router::EventHandlers<#store> for #target #where_clause {
            fn register(self: ::std::sync::Arc<Self>, routes: &mut #router::router::Routes<#store>) {
                #(#routes)*
            }
        }
    })
}

impl Handler {
    fn parse(attribute: &Attribute, method: &ImplItemFn) -> Result<Self> {
        let (event_type, version) = attribute.parse_args_with(|input: syn::parse::ParseStream<'_>| {
            let event_type: Expr = input.parse()?;
            let mut version = None;
            while input.parse::<Option<Token![,]>>()?.is_some() && !input.is_empty() {
                let name: Ident = input.parse()?;
                if name != "version" {
                    return Err(Error::new(name.span(), "unknown attribute, known is `version`"));
                }
                input.parse::<Token![=]>()?;
                version = Some(input.parse::<Expr>()?);
            }
            Ok((event_type, version))
        })?;
        let wrong = || Error::new_spanned(&method.sig, FORMS);
        let mut inputs = method.sig.inputs.iter();
        let receiver = matches!(inputs.next(), Some(FnArg::Receiver(receiver))
            if receiver.reference.is_some() && receiver.mutability.is_none());
        let mut typed = || match inputs.next() {
            Some(FnArg::Typed(argument)) => Some((*argument.ty).clone()),
            _ => None,
        };
        let (context, payload) = (typed(), typed());
        if !receiver || method.sig.asyncness.is_none() || inputs.next().is_some() {
            return Err(wrong());
        }
        let context = context.ok_or_else(wrong)?;
        Ok(Self { name: method.sig.ident.clone(), event_type, version, context, payload })
    }

    fn route(&self, contracts: &TokenStream, source: &Expr) -> TokenStream {
        let Self { name, event_type, version, payload, .. } = self;
        let version = match version {
            Some(version) => quote!(::core::option::Option::Some(#version)),
            None => quote!(::core::option::Option::None),
        };
        let call = match payload {
            Some(payload) => quote_spanned! { payload.span() => {
                let payload = cx.payload::<#payload>()?;
                this.#name(cx, payload).await
            }},
            None => quote_spanned! { name.span() => this.#name(cx).await },
        };
        quote! {
            routes.method::<Self>(#source, #event_type, #version, &self, |this, cx| {
                ::std::boxed::Box::pin(async move { #contracts::handler::IntoHandlerResult::into_handler_result(#call) })
            });
        }
    }
}

/// The store of an `InboxContext<'_, S>`.
fn store(context: &Type) -> Result<Type> {
    let wrong = || Error::new_spanned(context, "this is not written as `InboxContext<'_, S>`");
    let Type::Path(path) = context else { return Err(wrong()) };
    let last = path.path.segments.last().ok_or_else(wrong)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return Err(wrong()) };
    let store = arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(store) => Some(store.clone()),
        _ => None,
    });
    store.ok_or_else(wrong)
}
