//! From librdkafka's message to omni-box's.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use chrono::DateTime;
use omni_box_core::InboundMessage;
use rdkafka::message::{BorrowedMessage, Headers, Message};

pub(super) fn inbound(message: &BorrowedMessage<'_>) -> InboundMessage {
    InboundMessage {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        value: message.payload().map(Bytes::copy_from_slice),
        headers: headers(message),
        timestamp: message.timestamp().to_millis().and_then(DateTime::from_timestamp_millis),
    }
}

/// rdkafka 0.39 panics on a header whose name is not UTF-8 (`BorrowedHeaders::try_get`); such a header is left out.
fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Option<Bytes>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let header = |index| {
        let header = headers.try_get(index)?;
        Some((header.key.to_owned(), header.value.map(Bytes::copy_from_slice)))
    };
    (0..headers.count())
        .filter_map(|index| catch_unwind(AssertUnwindSafe(|| header(index))).unwrap_or_default())
        .collect()
}
