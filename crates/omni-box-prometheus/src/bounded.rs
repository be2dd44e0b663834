//! Handles of a label's values, of which there are only so many.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The value that all share who come too late.
const OTHER: &str = "other";

/// Where a value and its handle are, once it has come.
type Place<T> = OnceLock<(Box<str>, T)>;

/// A handle for each value of a label, until there are `most`; those that come later share one handle, of the value `other`.
///
/// A look-up takes no lock: places are filled once and never emptied.
pub(crate) struct Bounded<T> {
    places: Box<[Place<T>]>,
    most: usize,
    is_full: AtomicBool,
    /// How many places are filled.
    filled: Mutex<usize>,
    other: OnceLock<T>,
    make: Box<dyn Fn(&str) -> T + Send + Sync>,
    hasher: RandomState,
}

impl<T> Bounded<T> {
    pub(crate) fn new(most: usize, make: impl Fn(&str) -> T + Send + Sync + 'static) -> Self {
        Self {
            // with half of the places empty, a value is found after one or two looks
            places: (0..most * 2).map(|_| OnceLock::new()).collect(),
            most,
            is_full: AtomicBool::new(false),
            filled: Mutex::new(0),
            other: OnceLock::new(),
            make: Box::new(make),
            hasher: RandomState::new(),
        }
    }

    /// The handle of a value.
    pub(crate) fn get(&self, value: &str) -> &T {
        if let Ok(handle) = self.find(value) {
            return handle;
        }
        if self.is_full.load(Ordering::Relaxed) {
            return self.other();
        }
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        match self.find(value) {
            // another thread was faster
            Ok(handle) => handle,
            Err(_) if *filled == self.most => {
                self.is_full.store(true, Ordering::Relaxed);
                self.other()
            }
            Err(place) => {
                *filled += 1;
                &place.get_or_init(|| (value.into(), (self.make)(value))).1
            }
        }
    }

    fn other(&self) -> &T {
        self.other.get_or_init(|| (self.make)(OTHER))
    }

    /// The handle of a value, or else the place where it belongs.
    fn find(&self, value: &str) -> Result<&T, &Place<T>> {
        let mut at = self.hasher.hash_one(value) as usize % self.places.len();
        loop {
            let place = &self.places[at];
            match place.get() {
                None => return Err(place),
                Some((known, handle)) if **known == *value => return Ok(handle),
                // half of the places are empty, so that one comes
                Some(_) => at = (at + 1) % self.places.len(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};
    use std::thread;
    use std::time::Duration;

    use super::Bounded;

    #[test]
    fn each_value_has_its_handle_until_there_are_too_many() {
        let values = Bounded::new(3, str::to_owned);
        for value in ["a", "b", "c", "d", "a", "e"] {
            let expected = if ["d", "e"].contains(&value) { "other" } else { value };
            assert_eq!(values.get(value), expected);
        }
    }

    #[test]
    fn threads_that_come_at_once_share_handles() {
        let values = Bounded::new(200, str::to_owned);
        let handles = |values: &Bounded<String>| -> HashSet<usize> {
            (0..300).map(|n| std::ptr::from_ref(values.get(&format!("type-{}", n % 100))).addr()).collect()
        };
        let all = std::thread::scope(|scope| {
            let running: Vec<_> = (0..4).map(|_| scope.spawn(|| handles(&values))).collect();
            running.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect::<HashSet<_>>()
        });
        assert_eq!(all.len(), 100);
    }

    /// What is told of an event costs an atomic addition then.
    #[test]
    fn values_that_have_come_are_found_without_a_lock_and_without_a_new_handle() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let values = Bounded::new(200, move |_| counted.fetch_add(1, Ordering::Relaxed));
        let values = Arc::new(values);
        let all: Vec<String> = (0..250).map(|n| format!("type-{n}")).collect();
        let look_up = |values: &Bounded<usize>, all: &[String]| {
            all.iter().map(|value| *values.get(value)).collect::<Vec<usize>>()
        };
        let first = look_up(&values, &all);
        let locked = values.filled.lock().expect("no panic");
        let (answer, answered) = mpsc::channel();
        let others = Arc::clone(&values);
        thread::spawn(move || answer.send(look_up(&others, &all)));
        let again = answered.recv_timeout(Duration::from_secs(10)).expect("no look-up waits for the lock");
        drop(locked);
        assert_eq!(again, first);
        assert_eq!(made.load(Ordering::Relaxed), 201, "with the one that others share");
    }
}
