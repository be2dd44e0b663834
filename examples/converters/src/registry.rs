//! A schema registry, and the header that says which of its schemas wrote a message: a zero byte, then the schema's id in four bytes.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

/// Schemas by their ids. A service of yours asks a registry over HTTP, at its start and for an id that it has not seen.
pub(crate) struct Registry(BTreeMap<u32, &'static str>);

impl Registry {
    pub(crate) fn new(schemas: impl IntoIterator<Item = (u32, &'static str)>) -> Self {
        Self(schemas.into_iter().collect())
    }

    pub(crate) fn schema(&self, id: u32) -> anyhow::Result<&'static str> {
        self.0.get(&id).copied().with_context(|| format!("the registry has no schema {id}"))
    }
}

/// A message's value with the header of its schema.
pub(crate) fn framed(schema: u32, body: &[u8]) -> Vec<u8> {
    [[0].as_slice(), schema.to_be_bytes().as_slice(), body].concat()
}

/// The schema's id of a message's value, and what is behind the header. The text of an error is stored with the message: it must not repeat
/// what the message holds.
pub(crate) fn split(value: Option<&[u8]>) -> anyhow::Result<(u32, &[u8])> {
    let value = value.context("the message has no value")?;
    let Some((header, body)) = value.split_first_chunk::<5>() else {
        bail!("the value has {} bytes, too few for the header of a schema registry", value.len());
    };
    let [magic, id @ ..] = header;
    ensure!(*magic == 0, "the value does not begin with the zero byte of a schema registry's header");
    Ok((u32::from_be_bytes(*id), body))
}
