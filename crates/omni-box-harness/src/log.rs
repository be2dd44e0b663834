//! What a test logs: one subscriber in the process, which keeps the events of each thread that listens.
//!
//! A subscriber for each thread (`tracing::subscriber::set_default`) loses events. Tracing remembers for the whole process whether a place
//! in the code interests a subscriber, and the first thread to ask may be one without.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};

use crate::canary;

type Kept = Mutex<Vec<BTreeMap<&'static str, String>>>;

/// Whether all that omni-box logs is looked at.
static IS_GUARDED: AtomicBool = AtomicBool::new(false);

/// Looks at each line and span that omni-box logs in this process from now on, and at what programs log that the harness starts. Some texts
/// stand for a payload, a key, a header's value or a password (`canary-in-the-..`, `..-secret`). A line with one of them ends the process
/// as a failed test.
///
/// Everything that a test begins with calls it: [`servers`](crate::servers), [`TestDatabase`](crate::TestDatabase), [`Log::listen`]. In a
/// program with a subscriber of its own it does nothing.
pub fn guard_log() {
    install();
    if !IS_GUARDED.swap(true, Ordering::Relaxed) {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Whether the subscriber is that of this process.
fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| tracing::subscriber::set_global_default(ByThread).is_ok())
}

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
        assert!(install(), "tests install no other subscriber");
        guard_log();
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
        is_guarded(metadata) || metadata.is_event() && (is_heard() || !by_name().is_empty())
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        look_at(&fields, event.metadata());
        let keep = |kept: Arc<Kept>| {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(fields.0.clone());
        };
        LISTENERS.with_borrow(|listeners| listeners.iter().filter_map(Weak::upgrade).for_each(keep));
        by_name().into_iter().for_each(keep);
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        look_at(&fields, span.metadata());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        canary::check(&fields.line(), "a span");
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn is_guarded(metadata: &Metadata<'_>) -> bool {
    IS_GUARDED.load(Ordering::Relaxed) && metadata.target().starts_with("omni_box")
}

fn look_at(fields: &Fields, metadata: &Metadata<'_>) {
    if is_guarded(metadata) {
        let place = format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or_default());
        canary::check(&fields.line(), place);
    }
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

impl Fields {
    fn line(&self) -> String {
        self.0.iter().fold(String::new(), |mut line, (name, value)| {
            let _ = write!(line, "{name}={value} ");
            line
        })
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}
