//! Flags of a program over all else.

use std::path::PathBuf;

use omni_box_core::{EnvelopeEventConverter, Result};
use omni_box_pipeline::OutboxRelay;
use omni_box_settings::{Flags, RelayFromSettings, Settings};
use omni_box_testkit::{MemoryBroker, MemoryStore};

use super::{File, owned};

const BATCH: &str = "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE";

fn read(file: &File, variables: &[(&str, &str)], flags: Flags) -> Result<Settings> {
    Settings::load_from_with(file.directory.path(), owned(variables), &flags)
}

#[test]
fn a_flag_wins_over_the_environment_the_file_and_the_default() {
    let file = File::new("[outbox_processor]\nbatch_size = 2\n");
    file.add("other.toml", "[outbox_processor]\nbatch_size = 3\n");
    let batch = |variables: &[(&str, &str)], flags| {
        read(&file, variables, flags).unwrap().relay().unwrap().batch_size
    };
    let set = |text: &str| Flags::new().set(text);
    assert_eq!(batch(&[(BATCH, "5")], set("outbox_processor.batch_size=7")), 7);
    assert_eq!(batch(&[], set("outbox_processor.batch_size=7").set("outbox_processor.batch_size=8")), 8);
    assert_eq!(batch(&[(BATCH, "5")], Flags::new()), 5);
    let named = || Flags::new().config(PathBuf::from("other.toml"));
    assert_eq!(batch(&[("OMNI_BOX_CONFIG", "missing.toml")], named()), 3);
    assert_eq!(batch(&[], named().config(None::<PathBuf>)), 3);
}

#[test]
fn properties_of_flags_are_added_to_those_of_other_sources() {
    let file = File::new("[kafka]\nbrokers = [\"a:1\"]\n[kafka.properties]\n\"socket.timeout.ms\" = 6000\n");
    let flags = Flags::new().set("kafka.properties.linger.ms=7").set("kafka.brokers=b:2,c:3");
    let config = read(&file, &[], flags).unwrap().kafka_publisher().unwrap().client_config().unwrap();
    assert_eq!(config.get("bootstrap.servers"), Some("b:2,c:3"));
    assert_eq!(config.get("linger.ms"), Some("7"));
    assert_eq!(config.get("socket.timeout.ms"), Some("6000"));
}

#[test]
fn what_is_wrong_is_said_with_its_flag() {
    let file = File::new("");
    for (set, expected) in [
        ("outbox_processor.bach_size=5", "--set outbox_processor.bach_size: did you mean batch_size?"),
        (
            "outbox_procesor.batch_size=5",
            "--set outbox_procesor.batch_size: there is no section \"outbox_procesor\", did you mean outbox_processor?",
        ),
        ("batch_size=5", "--set batch_size: needs section.key"),
        ("hunter2", "a --set has no \"=\", needs section.key=value"),
        (
            "outbox_processor.lease_ttl=10",
            "--set outbox_processor.lease_ttl is 10, whose unit is missing: write it as 10s, with one of ms, s, m, h, d",
        ),
        ("retry.max=-1s", "--set retry.max is \"-1s\": a duration cannot be negative"),
        ("kafka.properties=5", "--set kafka.properties: needs a property: kafka.properties.<property>=value"),
        (
            "database.url=postgres://u:hunter2@h/d",
            "--set database.url: is a secret, which all users of the machine would see: use database.url_file",
        ),
    ] {
        let flags = Flags::new().set(set);
        assert!(!format!("{flags:?}").contains("hunter2") || set == "hunter2", "{flags:?}");
        assert_eq!(read(&file, &[], flags).unwrap_err().to_string(), expected);
    }
    let url = file.add("url", "postgres://u:hunter2@h/d\n");
    let flags = Flags::new().set(format!("database.url_file={}", url.display()));
    let settings = read(&file, &[], flags.clone()).unwrap();
    assert_eq!(settings.database_url().unwrap().expose(), "postgres://u:hunter2@h/d");
    let both = read(&file, &[("OMNI_DATABASE__URL", "postgres://x")], flags).unwrap_err().to_string();
    assert_eq!(both, "OMNI_DATABASE__URL and --set database.url_file are both given, needs one");
}

#[test]
fn a_relay_is_built_from_settings() {
    let settings = |batch: &str| {
        let flags = Flags::new().set(format!("outbox_processor.batch_size={batch}"));
        read(&File::new(""), &[], flags).unwrap()
    };
    let build = |settings: &Settings| {
        let publisher = MemoryBroker::new().publisher(EnvelopeEventConverter);
        OutboxRelay::from_settings(settings, MemoryStore::new(), publisher)?.build()
    };
    build(&settings("500")).unwrap();
    let refused = build(&settings("0")).unwrap_err().to_string();
    assert!(refused.contains("batch_size 0"), "{refused}");
}
