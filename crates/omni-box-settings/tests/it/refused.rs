//! What is refused, and how the right thing is named.

use super::{File, environment};

/// Refused, with this whole message, when it stands in a file.
#[track_caller]
fn in_file(text: &str, message: &str) {
    assert_eq!(File::new(text).refused(&[]), message);
}

/// Refused, with this whole message, as a variable.
#[track_caller]
fn as_variable(name: &str, value: &str, message: &str) {
    assert_eq!(environment(&[(name, value)]).expect_err(message).chain(), message);
}

#[test]
fn a_key_that_does_not_exist_is_answered_with_the_one_that_was_meant() {
    in_file(
        "[outbox_processor]\n\nbatch_sise = 5\n",
        r#"omni-box.toml line 3: [outbox_processor] has no key "batch_sise", did you mean batch_size?"#,
    );
    in_file(
        "[outbox_procesor]\nbatch_size = 5\n",
        r#"omni-box.toml line 1: there is no section "outbox_procesor", did you mean outbox_processor?"#,
    );
    in_file(
        "[database]\npool_of_threads = 5\n[maintenance]\nmax_batch_bytes = 7\n[retry]\nzzz = 1",
        r#"omni-box.toml line 2: [database] has no key "pool_of_threads", there are url, max_connections, acquire_timeout, schema, listen, migrate_wait, busy_timeout, outbox_events_table, inbox_events_table, outbox_lanes_table, outbox_relays_table, inbox_partitions_table, inbox_members_table, inbox_quarantine_table, omni_box_control_table, omni_box_breakers_table, omni_box_migrations_table; omni-box.toml line 4: [maintenance] has no key "max_batch_bytes", [outbox_processor] has; omni-box.toml line 6: [retry] has no key "zzz", there are base, max, jitter"#,
    );
    in_file(
        "batch_size = 5\n",
        r#"omni-box.toml line 1: "batch_size" stands outside of a section; it belongs into [outbox_processor]"#,
    );
    in_file(
        "[kafka.publisher]\nx = \"y\"\n",
        r#"omni-box.toml line 1: [kafka] has no key "publisher", there are brokers, client_id, partitioner, record_time, window, buffer_bytes, refused_log_in, security_protocol, sasl_mechanism, sasl_username, sasl_password, ssl_ca_location, ssl_certificate_location, ssl_key_location, ssl_key_password, properties, publisher_properties, consumer_properties"#,
    );
}

#[test]
fn a_variable_that_does_not_exist_is_answered_with_the_one_that_was_meant() {
    for (name, meant) in [
        // without the two underscores, or with more
        ("OMNI_DATABASE_URL", "OMNI_DATABASE__URL"),
        ("OMNI__DATABASE__URL", "OMNI_DATABASE__URL"),
        ("OMNI_OUTBOX_PROCESSOR_BATCH_SIZE", "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE"),
        ("OMNI_OUTBOX__PROCESSOR__BATCH_SIZE", "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE"),
        ("OMNI_KAFKA_SASL_PASSWORD_FILE", "OMNI_KAFKA__SASL_PASSWORD_FILE"),
        // one edit away
        ("OMNI_OUTBOX_PROCESSOR__BATCHSIZE", "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE"),
        ("OMN_RETRY__BASE", "OMNI_RETRY__BASE"),
        ("OMNI_BOX_CONFG", "OMNI_BOX_CONFIG"),
        ("omni_retry__base", "OMNI_RETRY__BASE"),
        // further away, but of the form
        ("OMNI_OUTBOX_PROCESSOR__BACH_SISE", "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE"),
        ("OMNI_KAFKA__PROPERTIES", "OMNI_KAFKA__PROPERTIES__<PROPERTY>"),
        ("OMNI_KAFKA__PROPERTYS__LINGER_MS", "OMNI_KAFKA__PROPERTIES__<PROPERTY>"),
    ] {
        as_variable(name, "x", &format!("{name} is not a setting, did you mean {meant}?"));
    }
    as_variable("OMNI_RETRY__ZZZ", "x", "OMNI_RETRY__ZZZ is not a setting, there are base, max, jitter");
    as_variable(
        "OMNI_RELAY__BATCH_SIZE",
        "5",
        "OMNI_RELAY__BATCH_SIZE is not a setting, the sections are OMNI_DATABASE__, OMNI_KAFKA__, OMNI_OUTBOX_PROCESSOR__, \
         OMNI_INBOX__, OMNI_INBOX_WORKER__, OMNI_MAINTENANCE__, OMNI_RETRY__",
    );
}

#[test]
fn a_duration_needs_its_unit_and_is_never_negative() {
    let units = "with one of ms, s, m, h, d";
    let variable = "OMNI_RETRY__BASE";
    in_file(
        "[retry]\nbase = 10\n",
        &format!("omni-box.toml line 2: retry.base is 10, whose unit is missing: write it as 10s, {units}"),
    );
    as_variable(
        variable,
        "10",
        &format!("{variable} is 10, whose unit is missing: write it as 10s, {units}"),
    );
    as_variable(variable, "-10s", r#"OMNI_RETRY__BASE is "-10s": a duration cannot be negative"#);
    in_file(
        "[retry]\nbase = -10\n",
        r#"omni-box.toml line 2: retry.base is "-10": a duration cannot be negative"#,
    );
    for bad in ["10sec", "1h30m", "1.5s", "10S", "10 s x"] {
        as_variable(
            variable,
            bad,
            &format!("{variable} is {bad:?}, needs one whole number and one of ms, s, m, h, d, such as 10s"),
        );
    }
    as_variable(
        variable,
        "soon",
        r#"OMNI_RETRY__BASE is "soon", needs a whole number and a unit, such as 10s"#,
    );
    as_variable(
        variable,
        "99999999999999999999d",
        r#"OMNI_RETRY__BASE is "99999999999999999999d": that is too large a duration"#,
    );
    as_variable(variable, " ", "OMNI_RETRY__BASE is empty: remove it, or give it a value");
    in_file(
        "[retry]\nbase = 1.5\n",
        "omni-box.toml line 2: retry.base is a fraction, needs a text in quotes",
    );
}

#[test]
fn a_size_needs_its_unit_and_is_never_negative() {
    let variable = "OMNI_OUTBOX_PROCESSOR__MAX_BATCH_BYTES";
    in_file(
        "[outbox_processor]\nmax_batch_bytes = 8388608\n",
        "omni-box.toml line 2: outbox_processor.max_batch_bytes is 8388608, whose unit is missing: write it as 8MiB, with one of B, KiB, MiB, GiB, TiB",
    );
    as_variable(variable, "-1B", &format!("{variable} is \"-1B\": a size cannot be negative"));
    as_variable(
        variable,
        "8MB",
        &format!(
            "{variable} is \"8MB\", needs one whole number and one of B, KiB, MiB, GiB, TiB, such as 8MiB"
        ),
    );
    as_variable(variable, "99999999TiB", &format!("{variable} is \"99999999TiB\": that is too large a size"));
}

#[test]
fn a_value_that_a_key_cannot_have_is_refused() {
    let variable = "OMNI_OUTBOX_PROCESSOR__BATCH_SIZE";
    for bad in ["many", "-1", "1.5", "4294967296", ""] {
        as_variable(variable, bad, &format!("{variable} is {bad:?}, needs a whole number, 0 to 4294967295"));
    }
    in_file(
        "[outbox_processor]\nbatch_size = \"5\"\n",
        "omni-box.toml line 2: outbox_processor.batch_size is a text, needs a whole number",
    );
    in_file(
        "[outbox_processor]\nbatch_size = 0x10\n",
        "omni-box.toml line 2: outbox_processor.batch_size is a number that is not decimal, needs a whole number",
    );
    as_variable(
        "OMNI_INBOX__ON_FAILED",
        "Hold",
        r#"OMNI_INBOX__ON_FAILED is "Hold", needs one of commit, hold"#,
    );
    in_file(
        "[inbox]\ntopics = \"orders\"\n",
        r#"omni-box.toml line 2: inbox.topics is a text, needs a list of texts: ["..", ".."]"#,
    );
    for bad in ["[]", r#"[""]"#] {
        let refused = File::new(&format!("[inbox]\ntopics = {bad}\n")).refused(&[]);
        assert!(refused.starts_with("omni-box.toml line 2: inbox.topics "), "{refused}");
    }
    as_variable(
        "OMNI_INBOX__TOPICS",
        "a,,b",
        "OMNI_INBOX__TOPICS has an empty place, needs a text in each and at least one",
    );
    in_file(
        "[inbox]\nworker_id = true\n",
        "omni-box.toml line 2: inbox.worker_id is true or false, needs a text in quotes",
    );
    in_file(
        "[kafka]\nproperties = { linger.ms = 5 }\n",
        r#"omni-box.toml line 2: kafka.properties holds a table "linger": put names with dots in quotes"#,
    );
}

#[test]
fn a_file_that_is_not_toml_is_named_with_the_line() {
    let refused = File::new("[retry]\nbase = \n").refused(&[]);
    assert!(refused.starts_with("omni-box.toml line 2: "), "{refused}");
    let refused = File::new("[retry]\nbase = \"1s\"\nbase = \"2s\"\n").refused(&[]);
    assert!(refused.starts_with("omni-box.toml line 3: duplicate key"), "{refused}");
    let file = File::new("");
    std::fs::write(file.directory.path().join("omni-box.toml"), [0xff]).unwrap();
    assert_eq!(file.refused(&[]), "omni-box.toml is not UTF-8");
    std::fs::write(file.directory.path().join("omni-box.toml"), vec![b' '; (1 << 20) + 1]).unwrap();
    assert_eq!(file.refused(&[]), "omni-box.toml has more than 1048576 bytes");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let refused = File::new("[retry]\nbase = 10\nmax = 20\n").refused(&[("OMNI_RETRY__JITER", "full")]);
    for part in ["line 2: retry.base", "line 3: retry.max", "OMNI_RETRY__JITER is not a setting"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn values_that_disagree_are_named_where_they_stand() {
    let file = File::new("[retry]\nbase = \"2h\"\n");
    let relay = file.read(&[]).unwrap().relay().unwrap_err().to_string();
    assert!(relay.ends_with("omni-box.toml line 2: retry.base and retry.max disagree: retry base 7200s must be above zero and at most the maximum 3600s"), "{relay}");
    let settings = environment(&[("OMNI_OUTBOX_PROCESSOR__OUTAGE_RETRY_BASE", "0s")]).unwrap();
    let relay = settings.relay().unwrap_err().to_string();
    assert!(
        relay.starts_with("OMNI_OUTBOX_PROCESSOR__OUTAGE_RETRY_BASE and outbox_processor.outage_retry_max"),
        "{relay}"
    );
}

#[test]
fn what_must_be_set_is_named() {
    let settings = environment(&[]).unwrap();
    for (error, name) in [
        (
            settings.database_url().map(drop),
            "database.url is not set: set it in the file, or OMNI_DATABASE__URL",
        ),
        (
            settings.kafka_publisher().map(drop),
            "kafka.brokers is not set: set it in the file, or OMNI_KAFKA__BROKERS",
        ),
        (
            settings.kafka_consumer().map(drop),
            "inbox.consumer_group is not set: set it in the file, or OMNI_INBOX__CONSUMER_GROUP",
        ),
    ] {
        assert_eq!(error.unwrap_err().to_string(), name);
    }
}

#[test]
fn a_property_that_is_given_twice_is_refused() {
    let settings = environment(&[
        ("OMNI_KAFKA__BROKERS", "a:1"),
        ("OMNI_KAFKA__SASL_USERNAME", "u"),
        ("OMNI_KAFKA__PROPERTIES__SASL_USERNAME", "v"),
    ]);
    assert_eq!(
        settings.unwrap().kafka_publisher().unwrap_err().to_string(),
        r#"OMNI_KAFKA__SASL_USERNAME and the property "sasl.username" are both given, needs one"#
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStringExt;

    for name in ["OMNI_RETRY__BASE", "DATABASE_URL"] {
        let variable = (name.into(), std::ffi::OsString::from_vec(vec![0xff]));
        let refused = omni_box_settings::Settings::read(None, [variable]).unwrap_err();
        assert_eq!(refused.to_string(), format!("{name} is not UTF-8"));
    }
}
