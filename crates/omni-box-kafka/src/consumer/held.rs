//! How much memory a partition's messages take that were delivered and are not done.

use std::collections::BTreeMap;

use omni_box_core::InboundMessage;

/// What a message takes beside its bytes.
const OVERHEAD: usize = 200;

#[derive(Default)]
pub(super) struct Held {
    sizes: BTreeMap<i64, usize>,
    total: usize,
}

impl Held {
    pub(super) fn add(&mut self, message: &InboundMessage) {
        let headers = message.headers.iter();
        let headers: usize =
            headers.map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len())).sum();
        let len = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, |bytes| bytes.len());
        let size = OVERHEAD + len(&message.key) + len(&message.value) + headers;
        self.sizes.insert(message.offset, size);
        self.total += size;
    }

    pub(super) fn remove(&mut self, offsets: &[i64]) {
        for offset in offsets {
            self.total -= self.sizes.remove(offset).unwrap_or_default();
        }
    }

    /// Bytes.
    pub(super) fn total(&self) -> usize {
        self.total
    }
}
