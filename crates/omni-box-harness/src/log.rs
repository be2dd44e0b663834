//! What a test logs: one subscriber in the process, which keeps the events of each thread that listens.
//!
//! A subscriber for each thread (`tracing::subscriber::set_default`) loses events: tracing remembers for the whole process
//! whether a place in the code interests a subscriber, and the first thread to ask may be one without.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

type Kept = Mutex<Vec<BTreeMap<&'static str, String>>>;

thread_local! {
    static LISTENERS: RefCell<Vec<Weak<Kept>>> = const { RefCell::new(Vec::new()) };
}

/// The events that one thread logs, from [`Log::listen`] until this is dropped.
///
/// Tests that spawn tasks need a runtime of one thread, which `#[tokio::test]` gives them.
#[derive(Debug)]
pub struct Log(Arc<Kept>);

impl Log {
    /// Keeps what the calling thread logs from now on.
    pub fn listen() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            tracing::subscriber::set_global_default(ByThread).expect("tests install no other subscriber");
        });
        // of what was asked for before the subscriber stood
        tracing::callsite::rebuild_interest_cache();
        let kept = Arc::new(Kept::default());
        LISTENERS.with_borrow_mut(|listeners| {
            listeners.retain(|listener| listener.strong_count() > 0);
            listeners.push(Arc::downgrade(&kept));
        });
        Self(kept)
    }

    /// The fields of each event so far, its text under `message`; what is not a string as its `Debug`.
    pub fn events(&self) -> Vec<BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Hands each event to the listeners of the thread that logs it.
struct ByThread;

impl Subscriber for ByThread {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && LISTENERS.try_with(|listeners| !listeners.borrow().is_empty()) == Ok(true)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        LISTENERS.with_borrow(|listeners| {
            for kept in listeners.iter().filter_map(Weak::upgrade) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(fields.0.clone());
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}
