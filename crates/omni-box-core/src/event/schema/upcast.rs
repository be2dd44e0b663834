//! The chain from a type back to its older versions, checked when it is compiled.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::EventSchema;
use super::version::equal;
use crate::error::Result;
use crate::event::Payload;

/// From which older type an event type is made when a message has an older version; see [`EventSchema::UPCAST`].
pub struct Upcast<T> {
    older: Option<Older<T>>,
}

/// The next older type, and how a payload of it or of one before it becomes a `T`.
struct Older<T> {
    known: &'static Known,
    read: fn(&'static str, &Payload) -> Result<T>,
}

/// A version that can be read, and the one before it.
struct Known {
    version: &'static str,
    older: Option<&'static Known>,
}

struct Chain<T>(PhantomData<T>);

impl<T: EventSchema> Chain<T> {
    /// Refers to `T::UPCAST`, so that a chain that leads back to itself does not compile.
    const KNOWN: &'static Known = &Known {
        version: T::VERSION,
        older: match T::UPCAST.older {
            Some(older) => Some(older.known),
            None => None,
        },
    };
}

impl<T> Upcast<T> {
    /// There is no older version.
    pub const fn none() -> Self {
        Self { older: None }
    }

    /// Messages of `Old`'s version, and of those that `Old` itself is made from, are read as `Old` and converted by `From`.
    ///
    /// In a constant, each of these is a compile error. `Old` has another event type, its chain has the version of `T` already, or the
    /// chain leads back to `T`.
    ///
    /// # Panics
    /// For the same reasons, when it is called at run time.
    pub const fn from_older<Old>() -> Self
    where
        T: EventSchema + From<Old>,
        Old: EventSchema + DeserializeOwned,
    {
        assert!(
            equal(T::EVENT_TYPE, Old::EVENT_TYPE),
            "an event type is upcast from a type with another `EVENT_TYPE`"
        );
        let known = Chain::<Old>::KNOWN;
        let mut next = Some(known);
        while let Some(older) = next {
            assert!(
                !equal(T::VERSION, older.version),
                "an event type is upcast from a type with the same `VERSION`"
            );
            next = older.older;
        }
        Self { older: Some(Older { known, read: read_older::<T, Old> }) }
    }
}

/// The versions that `T` reads, the newest first.
pub(super) fn versions<T: EventSchema>() -> impl Iterator<Item = &'static str> {
    std::iter::successors(Some(Chain::<T>::KNOWN), |known| known.older).map(|known| known.version)
}

/// Reads a payload of one of the [`versions`].
pub(super) fn read<T: EventSchema + DeserializeOwned>(known: &'static str, payload: &Payload) -> Result<T> {
    match T::UPCAST.older {
        Some(older) if known != T::VERSION => (older.read)(known, payload),
        _ => payload.deserialize(),
    }
}

fn read_older<T, Old>(known: &'static str, payload: &Payload) -> Result<T>
where
    T: From<Old>,
    Old: EventSchema + DeserializeOwned,
{
    read::<Old>(known, payload).map(T::from)
}

impl<T> Clone for Upcast<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Upcast<T> {}

impl<T> Clone for Older<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Older<T> {}

impl<T> fmt::Debug for Upcast<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.older.map(|older| older.known);
        let older = std::iter::successors(first, |known| known.older).map(|known| known.version);
        f.write_str("Upcast ")?;
        f.debug_list().entries(older).finish()
    }
}
