//! Every key is read, from the file and from the environment, and has the default that its page shows.

use std::collections::BTreeSet;

use omni_box_core::RetryPolicy;
use omni_box_kafka::{KafkaConsumerConfig, KafkaPublisherConfig};
use omni_box_pipeline::{InboxConfig, InboxWorkerConfig, OmniBoxMaintenanceService, RelayConfig};
use omni_box_postgres::PgConfig;
use omni_box_settings::{KEYS, Key, Kind, Settings};
use omni_box_sqlite::SqliteConfig;

use super::fingerprint::{NEEDED, fingerprint};
use super::{File, environment, owned};

/// Another value than the default one: as the environment gives it, and as it stands in the file.
fn another(key: &Key) -> (String, String) {
    let quoted = |text: &str| (text.to_owned(), format!("{text:?}"));
    match key.kind {
        Kind::Text if key.name == "url" => quoted("postgres://elsewhere/orders"),
        Kind::Text => quoted("other"),
        Kind::Number => ("7".to_owned(), "7".to_owned()),
        Kind::Duration => quoted("11s"),
        Kind::Size => quoted("7MiB"),
        Kind::Choice(words) => {
            quoted(words.iter().find(|word| key.default != Some(*word)).expect("there is a choice"))
        }
        Kind::List => ("b,c".to_owned(), r#"["b", "c"]"#.to_owned()),
        Kind::Properties => ("9".to_owned(), r#"{ "socket.timeout.ms" = "9" }"#.to_owned()),
        other => panic!("{other:?} is new: give it a value"),
    }
}

/// What a service cannot do without, but for one variable.
fn needed(except: &str) -> Vec<(&'static str, &'static str)> {
    NEEDED.into_iter().filter(|(name, _)| *name != except).collect()
}

#[test]
fn every_key_is_read_from_the_file_and_from_the_environment() {
    let usual = fingerprint(&environment(&NEEDED).unwrap()).unwrap();
    for key in KEYS {
        let variable = key.variable();
        let (text, toml) = another(key);
        let needed = needed(&variable);

        let file = File::new(&format!("[{}]\n{} = {toml}\n", key.section, key.name));
        let by_file = fingerprint(&file.read(&needed).unwrap()).unwrap();
        assert_ne!(by_file, usual, "{variable} is not read");

        let property = if key.kind == Kind::Properties { "__SOCKET_TIMEOUT_MS" } else { "" };
        let name = format!("{variable}{property}");
        let variables = [needed.as_slice(), &[(name.as_str(), text.as_str())]].concat();
        let by_environment = fingerprint(&environment(&variables).unwrap()).unwrap();
        assert_eq!(by_environment, by_file, "{variable}");
    }
}

#[test]
fn every_default_is_that_of_the_builder() {
    let settings = Settings::read(None, []).unwrap();
    assert_eq!(settings.relay().unwrap(), RelayConfig::default());
    assert_eq!(settings.inbox().unwrap(), InboxConfig::default());
    assert_eq!(settings.inbox_worker().unwrap(), InboxWorkerConfig::default());
    assert_eq!(settings.retry().unwrap(), RetryPolicy::default());
    assert_eq!(format!("{:?}", settings.maintenance()), format!("{:?}", OmniBoxMaintenanceService::new()));
    assert_eq!(settings.postgres().unwrap(), PgConfig::default());
    assert_eq!(settings.sqlite().unwrap(), SqliteConfig::default());
    let (pool, usual) = (settings.postgres_pool(), sqlx::postgres::PgPoolOptions::new());
    assert_eq!(pool.get_max_connections(), usual.get_max_connections());
    assert_eq!(pool.get_acquire_timeout(), usual.get_acquire_timeout());

    let settings = Settings::read(None, owned(&NEEDED)).unwrap();
    let (publisher, usual) =
        (settings.kafka_publisher().unwrap(), KafkaPublisherConfig::new("localhost:9092"));
    let (config, of_usual) = (publisher.client_config().unwrap(), usual.client_config().unwrap());
    assert_eq!(config.config_map(), of_usual.config_map());
    assert_eq!(format!("{publisher:?}"), format!("{usual:?}"));
    let consumer = settings.kafka_consumer().unwrap();
    let usual = KafkaConsumerConfig::new("localhost:9092", "shipping", ["orders"]);
    let (config, of_usual) = (consumer.client_config().unwrap(), usual.client_config().unwrap());
    assert_eq!(config.config_map(), of_usual.config_map());
    assert_eq!(format!("{consumer:?}"), format!("{usual:?}"));
}

#[test]
fn no_two_keys_are_set_by_one_variable() {
    let names: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(names.len(), KEYS.len());
    for key in KEYS {
        assert!(!key.name.contains("__"), "{}", key.variable());
        assert!(!key.doc.contains('|') && key.doc.ends_with('.'), "{}: {}", key.variable(), key.doc);
    }
}
