//! What goes over the wire: what a broker delivers and its way to an event, and an event's way to what a broker is given.

mod choice;
mod cloudevents;
mod converter;
mod decoder;
mod inbound;
mod quarantined;

pub use choice::{PerTopic, Tombstones};
pub use cloudevents::CloudEventsConverter;
pub use converter::{
    ConverterFn, Encoded, EnvelopeEventConverter, EventConverter, RawEventConverter,
    SchemaVersionedConverter, converter_fn, message_headers,
};
pub use decoder::{DecodeError, DecoderFn, DefaultMessageDecoder, MessageDecoder, decoder_fn};
pub use inbound::{InboundMessage, TopicPartition};
pub use quarantined::QuarantinedMessage;
