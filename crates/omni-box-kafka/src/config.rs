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

/// Other names of properties that have a default here. librdkafka takes both for one, and settings have no order.
const ALIASES: [(&str, &str); 1] = [("queue.buffering.max.ms", "linger.ms")];

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

    /// Refuses SASL by tokens that come from nowhere: librdkafka would connect, wait for a token without end, and report nothing.
    fn check_tokens(&self) -> Result<()> {
        let is = |name, value: &str| self.get(name).is_some_and(|set| set.trim().eq_ignore_ascii_case(value));
        let by_token = ["sasl.mechanism", "sasl.mechanisms"].iter().any(|name| is(name, "OAUTHBEARER"));
        let has_source = is("sasl.oauthbearer.method", "oidc")
            || ["true", "1", "t"].iter().any(|yes| is("enable.sasl.oauthbearer.unsecure.jwt", yes));
        if by_token && !has_source {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "property sasl.mechanism is OAUTHBEARER, which needs a source of tokens: set sasl.oauthbearer.method to oidc (which takes \
                 rdkafka's feature curl), or choose another mechanism",
            ));
        }
        Ok(())
    }

    /// The defaults, then the user's, refused where one breaks a promise. A default's other name replaces it too.
    pub(crate) fn over(&self, defaults: &[(&str, &str)], guarded: &[Guarded]) -> Result<ClientConfig> {
        self.check_tokens()?;
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
            check_text(name, value)?;
            if let Some((_, default)) = ALIASES.iter().find(|(alias, _)| alias == name) {
                config.remove(default);
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

/// Checks what librdkafka takes as a C string.
pub(crate) fn check_text(name: &str, value: &str) -> Result<()> {
    if name.contains('\0') || value.contains('\0') {
        let message = format!("property {} contains a NUL character", name.escape_debug());
        return Err(Error::new(ErrorKind::Misconfigured, message));
    }
    Ok(())
}

pub(crate) fn check_servers(servers: &str) -> Result<()> {
    if servers.trim().is_empty() {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            "bootstrap servers are empty, need host:port[,host:port]",
        ));
    }
    check_text("bootstrap.servers", servers)
}

/// Checks a name as Kafka does.
pub(crate) fn check_topic(name: &str) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err(Error::invalid("topic name is empty"));
    }
    if name.len() > 249 || matches!(name, "." | "..") || !name.chars().all(legal) {
        return Err(Error::invalid(
            "topic name is not one of Kafka's: at most 249 of a-z A-Z 0-9 . _ -, and not . or .. alone",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_checked_as_kafka_does() {
        for name in ["orders", "a.b_c-D9", &"x".repeat(249)] {
            assert!(check_topic(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "ü", "a/b", "a\0", &"x".repeat(250)] {
            assert!(check_topic(name).is_err(), "{name}");
        }
    }
}
