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

/// Listeners to threads by their names.
static NAMED: Mutex<Vec<(String, Weak<Kept>)>> = Mutex::new(Vec::new());

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

    /// Keeps what threads of a name log from now on: those that the code under test starts.
    pub fn of_threads(name: &str) -> Self {
        let log = Self::listen();
        LISTENERS.with_borrow_mut(|listeners| {
            listeners.retain(|listener| !listener.ptr_eq(&Arc::downgrade(&log.0)))
        });
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        named.retain(|(_, listener)| listener.strong_count() > 0);
        named.push((name.to_owned(), Arc::downgrade(&log.0)));
        drop(named);
        log
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
        let is_heard = || LISTENERS.try_with(|listeners| !listeners.borrow().is_empty()) == Ok(true);
        metadata.is_event() && (is_heard() || !by_name().is_empty())
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let keep = |kept: Arc<Kept>| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(fields.0.clone());
        };
        LISTENERS.with_borrow(|listeners| listeners.iter().filter_map(Weak::upgrade).for_each(keep));
        by_name().into_iter().for_each(keep);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Listeners to the calling thread by its name.
fn by_name() -> Vec<Arc<Kept>> {
    let current = std::thread::current();
    let named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let mine = named.iter().filter(|(name, _)| current.name() == Some(name));
    mine.filter_map(|(_, listener)| listener.upgrade()).collect()
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
