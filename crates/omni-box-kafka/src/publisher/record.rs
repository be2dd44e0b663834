//! What one event is on the wire, and how large.

use omni_box_core::{Encoded, OutboxEvent};
use rdkafka::message::{Header, OwnedHeaders};

/// Bytes of a record batch before its records (format 2).
const BATCH_OVERHEAD: usize = 61;

/// Headers, and the size in bytes of a batch that holds only this record, uncompressed.
pub(super) fn frame(event: &OutboxEvent, encoded: &Encoded<'_>) -> (OwnedHeaders, usize) {
    let fields = encoded.wire_headers(event);
    let count = fields.len();
    let mut headers = OwnedHeaders::new_with_capacity(count);
    let mut size = 1 + 1 + 1 + varint(count);
    for (key, value) in &fields {
        size += blob(key.len()) + blob(value.len());
        headers = headers.insert(Header { key, value: Some(value.as_bytes()) });
    }
    size += event.partition_key().map_or(1, |key| blob(key.len()));
    size += encoded.body.as_ref().map_or(1, |body| blob(body.len()));
    (headers, BATCH_OVERHEAD + varint(size) + size)
}

fn blob(len: usize) -> usize {
    varint(len) + len
}

/// Bytes of a zigzag varint of a length.
fn varint(value: usize) -> usize {
    let bits = usize::BITS - (value << 1).leading_zeros();
    (bits.max(1) as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_in_the_protocol() {
        for (value, bytes) in [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3), (1 << 20, 4)] {
            assert_eq!(varint(value), bytes, "{value}");
        }
    }
}
