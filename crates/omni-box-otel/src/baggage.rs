//! Baggage of an application that its events carry: entries that it has named, and no others.

use std::sync::OnceLock;

use omni_box_core::Headers;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::{Context, KeyValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const HEADER: &str = "baggage";
/// The longest header that is read, as the standard has it.
const LONGEST: usize = 8192;
/// What a value may not hold: the standard's own signs, and the one of this encoding.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b',').add(b';').add(b'\\').add(b'%');

/// Names of entries that may leave the process, and come in with a message.
static ALLOWED: OnceLock<Vec<String>> = OnceLock::new();

/// Allows entries, once in a process.
pub(crate) fn allow(names: Vec<String>) {
    // the second of two is refused by the caller before
    let _ = ALLOWED.set(names);
}

fn allowed() -> &'static [String] {
    ALLOWED.get().map_or(&[], Vec::as_slice)
}

/// The header for an event that the calling code creates: of OpenTelemetry's current context, else of the current `tracing` span.
pub(crate) fn current() -> Option<String> {
    let names = allowed();
    if names.is_empty() {
        return None;
    }
    let contexts = [Context::current(), Span::current().context()];
    let entries = names.iter().filter_map(|name| {
        let value = contexts.iter().find_map(|context| context.baggage().get(name))?;
        Some(format!("{name}={}", utf8_percent_encode(value.as_str(), ENCODED)))
    });
    let entries: Vec<String> = entries.collect();
    (!entries.is_empty()).then(|| entries.join(","))
}

/// Adds the allowed entries of a message to a context. What is malformed is left out, and so are properties of entries.
pub(crate) fn carried(context: Context, headers: &Headers) -> Context {
    let entries = entries(headers);
    if entries.is_empty() { context } else { context.with_baggage(entries) }
}

/// Allowed entries of a message.
fn entries(headers: &Headers) -> Vec<KeyValue> {
    let names = allowed();
    let header = if names.is_empty() { None } else { headers.get(HEADER) };
    let entries =
        header.filter(|header| header.len() <= LONGEST).into_iter().flat_map(|header| header.split(','));
    let read = entries.filter_map(|entry| {
        let (name, value) = entry.split(';').next()?.split_once('=')?;
        let name = names.iter().find(|allowed| *allowed == name.trim())?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some(KeyValue::new(name.clone(), value.into_owned()))
    });
    read.collect()
}
