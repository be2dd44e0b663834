//! librdkafka properties of the user, and those that are refused.

use std::collections::BTreeMap;
use std::fmt;

use omni_box_core::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;

/// A property that must keep a value, and why.
pub(crate) struct Guarded {
    pub(crate) name: &'static str,
    /// Spellings of the one value that is accepted; none: the property is not accepted at all.
    pub(crate) only: &'static [&'static str],
    pub(crate) why: &'static str,
}

/// Properties as the user gave them. `Debug` shows names only: values may be passwords.
#[derive(Clone, Default)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    pub(crate) fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.insert(name.into(), value.into());
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The defaults, then the user's, refused where one breaks a promise.
    pub(crate) fn over(&self, defaults: &[(&str, &str)], guarded: &[Guarded]) -> Result<ClientConfig> {
        let mut config = ClientConfig::new();
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        for (name, value) in &self.0 {
            if let Some(guard) = guarded.iter().find(|guard| guard.name == name)
                && !guard.only.iter().any(|accepted| accepted.eq_ignore_ascii_case(value.trim()))
            {
                return Err(refused(guard));
            }
            config.set(name, value);
        }
        Ok(config)
    }
}

fn refused(guard: &Guarded) -> Error {
    let message = match guard.only.first() {
        Some(only) => format!("property {} must be {only}: {}", guard.name, guard.why),
        None => format!("property {} cannot be set: {}", guard.name, guard.why),
    };
    Error::new(ErrorKind::Misconfigured, message)
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

pub(crate) fn check_servers(servers: &str) -> Result<()> {
    if servers.trim().is_empty() {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            "bootstrap servers are empty, need host:port[,host:port]",
        ));
    }
    Ok(())
}
