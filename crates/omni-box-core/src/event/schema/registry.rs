//! Migrations of payloads that have no type: from JSON to JSON.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::unknown_version;
use super::version::longest_prefix;
use crate::error::{Error, ErrorKind, Result};
use crate::event::content::DEFAULT_VERSION;
use crate::event::{Event, Payload};

type Migrate = dyn Fn(Value) -> Result<Value, Box<dyn StdError + Send + Sync>> + Send + Sync;

/// Brings payloads to the current version of their event type, by migrations from JSON to JSON. For payloads with a Rust type,
/// [`EventSchema`](super::EventSchema) does the same, checked by the compiler.
///
/// ```
/// use omni_box_core::{Payload, SchemaRegistry};
/// use serde_json::{Value, json};
///
/// let registry = SchemaRegistry::builder()
///     .current("order.placed", "3")
///     .migration("order.placed", "1", "2", |mut order: Value| {
///         order["currency"] = json!("EUR");
///         Ok::<_, omni_box_core::Error>(order)
///     })
///     .migration("order.placed", "2", "3", |order: Value| {
///         let amount = order["amount"].as_u64().ok_or("amount is not a whole number")?;
///         Ok::<_, String>(json!({"cents": amount * 100, "currency": order["currency"]}))
///     })
///     .build()?;
///
/// let old = Payload::from_text(r#"{"amount": 12}"#)?;
/// let migrated = registry.migrate("order.placed", Some("1.4.2"), &old)?;
/// assert_eq!(migrated.as_str(), r#"{"cents":1200,"currency":"EUR"}"#);
///
/// let error = registry.migrate("order.placed", Some("4"), &old).unwrap_err();
/// assert_eq!(error.to_string(), r#"order.placed has no version that reads "4", known are 1, 2, 3"#);
/// # Ok::<(), omni_box_core::Error>(())
/// ```
///
/// - The version of a message is that of the longest known version that equals it, or that it begins with, up to a dot. `2` reads `2.1.0`
///   and does not read `20`. A message without a version is of version 1.0.0.
/// - The way to the current version is the one with the fewest migrations; of several, the one registered first.
/// - What is of the current version already is handed back as it is, to the byte. A migrated payload is written anew: its
///   members are sorted, and a number beyond 64 bits loses precision.
/// - What cannot be brought to the current version is an error. A payload is never handed back unmigrated.
#[derive(Clone, Default)]
pub struct SchemaRegistry {
    types: BTreeMap<String, Schema>,
}

#[derive(Clone)]
struct Schema {
    current: String,
    migrations: Vec<Migration>,
}

#[derive(Clone)]
struct Migration {
    from: String,
    to: String,
    migrate: Arc<Migrate>,
}

impl SchemaRegistry {
    /// An empty registry to be filled.
    pub fn builder() -> SchemaRegistryBuilder {
        SchemaRegistryBuilder { current: Vec::new(), migrations: Vec::new() }
    }

    /// Brings a payload to the current version of its event type.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when the type is unknown, naming the known types. When no known version reads the message's, naming
    /// those that are known. When no migrations lead to the current version, naming those that there are. When a migration fails, with its
    /// error as the source. When a migration returns what no database stores.
    pub fn migrate(&self, event_type: &str, version: Option<&str>, payload: &Payload) -> Result<Payload> {
        let schema = self.types.get(event_type).ok_or_else(|| {
            let types: Vec<&str> = self.types.keys().map(String::as_str).collect();
            let types = if types.is_empty() { "none".to_owned() } else { types.join(", ") };
            decode(format!("event type {event_type:?} is not registered, known are {types}"))
        })?;
        let known = schema.versions();
        let from = longest_prefix(known.iter().copied(), version.unwrap_or(DEFAULT_VERSION))
            .ok_or_else(|| unknown_version(event_type, version, &Vec::from_iter(known)))?;
        if from == schema.current {
            return Ok(payload.clone());
        }
        let path = schema.path(from).ok_or_else(|| {
            let Schema { current, migrations } = schema;
            let edges: Vec<String> = migrations.iter().map(ToString::to_string).collect();
            decode(format!(
                "{event_type}: no migrations lead from {from} to {current}, known are {}",
                edges.join(", ")
            ))
        })?;
        let failed = |migration: &Migration| format!("migration of {event_type} from {migration} failed");
        let mut value: Value = payload.deserialize()?;
        for migration in path {
            value =
                (migration.migrate)(value).map_err(|error| decode(failed(migration)).with_source(error))?;
        }
        Payload::new(&value).map_err(|error| {
            decode(format!("migrations of {event_type} from {from} made what cannot be stored"))
                .with_source(error)
        })
    }

    /// Brings an event's payload to the current version of its type.
    ///
    /// # Errors
    /// As [`migrate`](Self::migrate).
    pub fn migrate_event<E: Event>(&self, event: &E) -> Result<Payload> {
        self.migrate(event.event_type(), event.content().schema_version.as_deref(), event.payload())
    }
}

impl Schema {
    fn versions(&self) -> BTreeSet<&str> {
        let ends = self.migrations.iter().flat_map(|migration| [&migration.from, &migration.to]);
        ends.chain([&self.current]).map(String::as_str).collect()
    }

    /// The shortest way to the current version, breadth first.
    fn path<'a>(&'a self, from: &'a str) -> Option<Vec<&'a Migration>> {
        let mut reached_by: HashMap<&str, &Migration> = HashMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(version) = open.pop_front() {
            if version == self.current {
                return Some(trace(&reached_by, from, version));
            }
            for migration in self.migrations.iter().filter(|migration| migration.from == version) {
                let to = migration.to.as_str();
                if to != from && !reached_by.contains_key(to) {
                    reached_by.insert(to, migration);
                    open.push_back(to);
                }
            }
        }
        None
    }
}

/// The migrations by which a version was reached, from the first to the last.
fn trace<'a>(
    reached_by: &HashMap<&str, &'a Migration>,
    from: &str,
    mut version: &'a str,
) -> Vec<&'a Migration> {
    let mut path = Vec::new();
    while version != from {
        let migration = reached_by[version];
        path.push(migration);
        version = &migration.from;
    }
    path.reverse();
    path
}

fn decode(message: String) -> Error {
    Error::new(ErrorKind::Decode, message)
}

impl fmt::Display for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}

impl fmt::Debug for SchemaRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.types.iter().map(|(event_type, schema)| (event_type, &schema.current));
        f.write_str("SchemaRegistry ")?;
        f.debug_map().entries(types).finish()
    }
}

/// Collects the event types and migrations of a [`SchemaRegistry`].
#[must_use = "call build() to get the registry"]
pub struct SchemaRegistryBuilder {
    current: Vec<(String, String)>,
    migrations: Vec<(String, Migration)>,
}

impl SchemaRegistryBuilder {
    /// Registers an event type with its current version.
    pub fn current(mut self, event_type: impl Into<String>, version: impl Into<String>) -> Self {
        self.current.push((event_type.into(), version.into()));
        self
    }

    /// Registers how a payload of an event type is brought from a version to another. The function's error becomes the source
    /// of the error that [`migrate`](SchemaRegistry::migrate) returns: it must not quote the payload.
    pub fn migration<E>(
        mut self,
        event_type: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
        migrate: impl Fn(Value) -> Result<Value, E> + Send + Sync + 'static,
    ) -> Self
    where
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        let migrate = Arc::new(move |value| migrate(value).map_err(Into::into));
        self.migrations.push((event_type.into(), Migration { from: from.into(), to: to.into(), migrate }));
        self
    }

    /// Makes the registry.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid), naming all of them. It is so for event types that have two current versions, or none although they
    /// have migrations. It is so for migrations that are registered twice, or lead from a version to itself, and for versions that are
    /// empty.
    pub fn build(self) -> Result<SchemaRegistry> {
        let mut faults = Vec::new();
        let mut types: BTreeMap<String, Schema> = BTreeMap::new();
        for (event_type, current) in self.current {
            if current.is_empty() {
                faults.push(format!("the current version of {event_type} is empty"));
            }
            match types.get(&event_type) {
                Some(Schema { current: first, .. }) => {
                    faults.push(format!("{event_type} has two current versions, {first} and {current}"));
                }
                None => {
                    types.insert(event_type, Schema { current, migrations: Vec::new() });
                }
            }
        }
        for (event_type, migration) in self.migrations {
            let Some(schema) = types.get_mut(&event_type) else {
                faults.push(format!("{event_type} has a migration from {migration}, and no current version"));
                continue;
            };
            let Migration { from, to, .. } = &migration;
            if from.is_empty() || to.is_empty() {
                faults.push(format!("{event_type} has a migration with an empty version"));
            } else if from == to {
                faults.push(format!("{event_type} has a migration from {from} to itself"));
            } else if schema.migrations.iter().any(|other| other.from == *from && other.to == *to) {
                faults.push(format!("{event_type} has two migrations from {migration}"));
            } else {
                schema.migrations.push(migration);
            }
        }
        if faults.is_empty() {
            return Ok(SchemaRegistry { types });
        }
        Err(Error::invalid(format!("schema registry: {}", faults.join("; "))))
    }
}

impl fmt::Debug for SchemaRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let migrations: Vec<String> = self
            .migrations
            .iter()
            .map(|(event_type, migration)| format!("{event_type} from {migration}"))
            .collect();
        f.debug_struct("SchemaRegistryBuilder")
            .field("current", &self.current)
            .field("migrations", &migrations)
            .finish()
    }
}
