//! Where generated code finds omni-box.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Ident, Result};

/// Packages that have the contracts in `event` and `handler`, the one that applications depend on first.
pub(crate) const CONTRACTS: [&str; 2] = ["omni-box", "omni-box-core"];
/// Packages that have a `router`.
pub(crate) const ROUTER: [&str; 2] = ["omni-box", "omni-box-pipeline"];

/// The path of the first of the packages that the calling one depends on.
pub(crate) fn find([first, second]: [&str; 2]) -> Result<TokenStream> {
    let found = [first, second].into_iter().find_map(|package| Some((package, crate_name(package).ok()?)));
    let name = match found {
        Some((_, FoundCrate::Name(name))) => name,
        // tests and examples of the package name it as others do
        Some((package, FoundCrate::Itself)) => package.replace('-', "_"),
        None => {
            let message = format!(
                "this package depends neither on `{first}` nor on `{second}`: \
                 add one of them, or say where `omni-box` is by `crate = path` in the attribute"
            );
            return Err(Error::new(Span::call_site(), message));
        }
    };
    let name = Ident::new(&name, Span::call_site());
    Ok(quote!(::#name))
}
