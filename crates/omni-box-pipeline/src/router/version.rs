//! Versions of a payload's schema.

use std::fmt;

use omni_box_core::EventSchema;

/// The versions that a route takes.
#[derive(Debug, Clone)]
pub(super) enum Version {
    Any,
    /// Those that a type of event reads; the fallback of exact ones.
    Known {
        reads: fn(&str) -> bool,
        names: Vec<&'static str>,
    },
    /// It and what begins with it: `2` takes `2.1.0`, and not `20`.
    Of(String),
}

/// How well a route's version fits; more is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    Any,
    Known,
    /// So many characters of it.
    Prefix(usize),
    Exact,
}

impl Version {
    /// The versions that a type of event reads.
    pub(super) fn known<P: EventSchema>() -> Self {
        Self::Known {
            reads: |version| P::known_version(Some(version)).is_some(),
            names: P::versions().collect(),
        }
    }

    /// Whether two routes take the same versions, so that one of them would never be used.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Of(one), Self::Of(other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// How well it fits an event's version; `None` if it does not.
    pub(super) fn fit(&self, event: &str) -> Option<Fit> {
        match self {
            Self::Any => Some(Fit::Any),
            Self::Known { reads, .. } => reads(event).then_some(Fit::Known),
            Self::Of(version) => match event.strip_prefix(version.as_str())? {
                "" => Some(Fit::Exact),
                rest if rest.starts_with('.') => Some(Fit::Prefix(version.len())),
                _ => None,
            },
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any version"),
            Self::Known { names, .. } => write!(f, "the versions {}", names.join(", ")),
            Self::Of(version) => write!(f, "version {version:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_takes_itself_and_what_begins_with_it() {
        for (route, event, fit) in [
            ("2", "2", Some(Fit::Exact)),
            ("2", "2.1.0", Some(Fit::Prefix(1))),
            ("2.1", "2.1.0", Some(Fit::Prefix(3))),
            ("2", "20", None),
            ("2.1", "2", None),
            ("1", "2.1", None),
        ] {
            assert_eq!(Version::Of(route.into()).fit(event), fit, "{route} {event}");
        }
        assert_eq!(Version::Any.fit("1.0.0"), Some(Fit::Any));
        assert!(
            Fit::Exact > Fit::Prefix(99) && Fit::Prefix(2) > Fit::Prefix(1) && Fit::Prefix(0) > Fit::Known
        );
        assert!(Fit::Known > Fit::Any);
    }
}
