//! Where generated code finds omni-box.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Error, Ident, Result};

/// Packages that have the traits at their root, the one that applications depend on first.
const PACKAGES: [&str; 2] = ["omni-box", "omni-box-core"];

/// The path of the first of the packages that the calling one depends on.
pub(crate) fn find() -> Result<TokenStream> {
    let found = PACKAGES.iter().find_map(|package| Some((*package, crate_name(package).ok()?)));
    let name = match found {
        Some((_, FoundCrate::Name(name))) => name,
        // tests and examples of the package name it as others do
        Some((package, FoundCrate::Itself)) => package.replace('-', "_"),
        None => {
            let message = "this package depends neither on `omni-box` nor on `omni-box-core`: \
                 add one of them, or say where it is by `#[event(crate = path)]`";
            return Err(Error::new(Span::call_site(), message));
        }
    };
    let name = Ident::new(&name, Span::call_site());
    Ok(quote!(::#name))
}
