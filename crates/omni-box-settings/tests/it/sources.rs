//! Which source wins.

use std::time::Duration;

use super::{File, environment};

const BATCH: &str = "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE";

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file = File::new("[outbox_processor]\nbatch_size = 1_500\nlease_ttl = \"30s\"\n");
    let batch = |variables: &[(&str, &str)]| file.read(variables).unwrap().relay().unwrap().batch_size;
    assert_eq!(batch(&[(BATCH, "7")]), 7);
    assert_eq!(batch(&[]), 1_500);
    let relay = file.read(&[(BATCH, "7")]).unwrap().relay().unwrap();
    assert_eq!(relay.lease_ttl, Duration::from_secs(30));
    assert_eq!(environment(&[]).unwrap().relay().unwrap().batch_size, 2_000);
}

#[test]
fn the_file_is_the_one_that_is_named_else_the_usual_one_if_it_is_there() {
    let file = File::new("[outbox_processor]\nbatch_size = 1\n");
    file.add("other.toml", "[outbox_processor]\nbatch_size = 2\n");
    let batch = |variables: &[(&str, &str)]| file.read(variables).unwrap().relay().unwrap().batch_size;
    assert_eq!(batch(&[]), 1);
    assert_eq!(batch(&[("OMNI_BOX_CONFIG", "other.toml")]), 2);
    let full = file.directory.path().join("other.toml");
    assert_eq!(batch(&[("OMNI_BOX_CONFIG", full.to_str().unwrap())]), 2);
    assert_eq!(
        file.refused(&[("OMNI_BOX_CONFIG", "missing.toml")]),
        "missing.toml cannot be read: entity not found"
    );

    std::fs::remove_file(file.directory.path().join("omni-box.toml")).unwrap();
    assert_eq!(batch(&[]), 2_000);
}

#[test]
fn properties_of_both_sources_are_added_up() {
    let file = File::new(
        "[kafka]\nbrokers = [\"a:1\", \"b:2\"]\nclient_id = \"orders\"\n\
         [kafka.properties]\n\"linger.ms\" = \"5\"\n\"socket.timeout.ms\" = 6000\n\
         [kafka.publisher_properties]\n\"compression.type\" = \"zstd\"\n",
    );
    let settings = file.read(&[("OMNI_KAFKA__PROPERTIES__LINGER_MS", "7")]).unwrap();
    let config = settings.kafka_publisher().unwrap().client_config().unwrap();
    assert_eq!(config.get("bootstrap.servers"), Some("a:1,b:2"));
    assert_eq!(config.get("client.id"), Some("orders"));
    assert_eq!(config.get("linger.ms"), Some("7"));
    assert_eq!(config.get("socket.timeout.ms"), Some("6000"));
    assert_eq!(config.get("compression.type"), Some("zstd"));
}

#[test]
fn a_sqlite_file_is_named_by_its_url() {
    let path = |url: &str| environment(&[("OMNI_DATABASE__URL", url)]).unwrap().sqlite_path().unwrap();
    assert_eq!(path("sqlite:orders.db").to_str(), Some("orders.db"));
    assert_eq!(path("sqlite:///var/lib/orders.db").to_str(), Some("/var/lib/orders.db"));
}

#[test]
fn variables_of_others_are_left_alone() {
    let others = [
        ("OMNI_BOX_KAFKA_BROKERS", "x"),
        ("OMNI_BOX_DATABASE_URL", "x"),
        ("OMNI_BOX_TEST_REQUIRE", "1"),
        ("OMNI_KIT_ACCEPT_EULA", "yes"),
        ("KAFKA__BROKERS", "x"),
        ("PATH", "/bin"),
    ];
    assert!(environment(&others).is_ok());
}
