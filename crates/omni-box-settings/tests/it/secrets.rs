//! Secrets come from files too, and are never shown.

use super::{File, environment};

const HUSH: &str = "hush-hush";
const URL: &str = "OMNI_DATABASE__URL";

#[test]
fn a_secret_in_a_file_is_read_again_each_time() {
    let file = File::new("");
    let path = file.add("url", "postgres://one/orders\n");
    let path = path.to_str().unwrap();
    let settings = environment(&[("OMNI_DATABASE__URL_FILE", path)]).unwrap();
    assert_eq!(settings.database_url().unwrap().expose(), "postgres://one/orders");
    file.add("url", "postgres://two/orders\r\n");
    assert_eq!(settings.database_url().unwrap().expose(), "postgres://two/orders");
    assert_eq!(settings.postgres_server().unwrap().get_host(), "two");

    std::fs::remove_file(path).unwrap();
    let refused = settings.database_url().unwrap_err().to_string();
    assert_eq!(refused, format!("OMNI_DATABASE__URL_FILE: {path} cannot be read: entity not found"));
}

#[test]
fn a_secret_that_is_given_twice_is_refused() {
    let file = File::new("[database]\nurl = \"postgres://a/b\"\nurl_file = \"x\"\n");
    assert_eq!(
        file.refused(&[]),
        "omni-box.toml line 2: database.url and omni-box.toml line 3: database.url_file are both given, needs one"
    );
    let file = File::new("[kafka]\nsasl_password = \"hush-hush\"\n");
    assert_eq!(
        file.refused(&[("OMNI_KAFKA__SASL_PASSWORD_FILE", "x")]),
        "omni-box.toml line 2: kafka.sasl_password and OMNI_KAFKA__SASL_PASSWORD_FILE are both given, needs one"
    );
}

#[test]
fn a_secrets_file_that_is_none_is_refused_at_once() {
    let file = File::new("");
    let empty = file.add("empty", "\n");
    let bytes = file.directory.path().join("bytes");
    std::fs::write(&bytes, [0xff]).unwrap();
    for (path, problem) in [
        (&empty, "is empty"),
        (&bytes, "is not UTF-8"),
        (&file.directory.path().to_owned(), "is not a file"),
        (&file.directory.path().join("missing"), "cannot be read: entity not found"),
    ] {
        let refused = file.refused(&[("OMNI_KAFKA__SASL_PASSWORD_FILE", path.to_str().unwrap())]);
        assert!(refused.starts_with("OMNI_KAFKA__SASL_PASSWORD_FILE: "), "{refused}");
        assert!(refused.ends_with(problem), "{refused}");
    }
}

#[test]
fn the_usual_variable_of_a_database_is_the_last_resort() {
    let usual = ("DATABASE_URL", "postgres://usual/orders");
    let host = |variables: &[(&str, &str)]| {
        environment(variables).unwrap().postgres_server().unwrap().get_host().to_owned()
    };
    assert_eq!(host(&[usual]), "usual");
    assert_eq!(host(&[usual, (URL, "postgres://own/orders")]), "own");
    let file = File::new("[database]\nurl = \"postgres://file/orders\"\n");
    assert_eq!(file.read(&[usual]).unwrap().postgres_server().unwrap().get_host(), "file");
}

#[test]
fn no_message_holds_user_password_or_parameters() {
    for (url, shown) in [
        (
            "mysql://u:hush-hush@db.example:3306/orders?x=hush-hush",
            "is mysql://db.example:3306/orders, needs to begin with postgres: or postgresql:",
        ),
        (
            "postgres://u:hush-hush@db.example/orders?sslmode=hush-hush",
            "postgres://db.example/orders has a parameter or part that PostgreSQL does not take",
        ),
        ("postgres://u:hush-hush@db.example:port/orders", "is not a URL: invalid port number"),
        ("hush-hush", "is not a URL: relative URL without a base"),
        ("mysql://u:1/hush-hush@db/orders", "is mysql://.., needs to begin with"),
        ("hush-hush:hush-hush", "is not one of a database, needs to begin with"),
    ] {
        let settings = environment(&[(URL, url)]).unwrap();
        let error = settings.postgres_server().unwrap_err();
        let text = error.chain();
        assert!(text.starts_with(URL) && text.contains(shown), "{text}");
        assert!(!text.contains(HUSH), "{text}");
        let error = settings.sqlite_path().unwrap_err().chain();
        assert!(!error.contains(HUSH), "{error}");
    }
    let settings = environment(&[(URL, "sqlite:orders.db?key=hush-hush")]).unwrap();
    let refused = settings.sqlite_path().unwrap_err().chain();
    assert!(refused.contains("has parameters") && !refused.contains(HUSH), "{refused}");
}

#[test]
fn no_message_and_no_debug_holds_a_secret() {
    let file = File::new(
        "[kafka]\nbrokers = [\"a:1\"]\nsasl_password = \"hush-hush\"\n[kafka.properties]\n\"ssl.key.pem\" = \"hush-hush\"\n",
    );
    let settings = file.read(&[(URL, "postgres://u:hush-hush@a/b"), ("DATABASE_URL", HUSH)]).unwrap();
    assert!(!format!("{settings:?}").contains(HUSH), "{settings:?}");
    assert!(format!("{settings:?}").contains("sasl_password"), "{settings:?}");
    let config = settings.kafka_publisher().unwrap();
    assert!(!format!("{config:?}").contains(HUSH), "{config:?}");

    for text in [
        "[kafka]\nsasl_password = { a = \"hush-hush\" }\n",
        "[kafka]\nsasl_password = [\"hush-hush\"]\n",
        "[kafka]\nproperties = \"hush-hush\"\n",
        "[kafka]\nproperties = { a = [\"hush-hush\"] }\n",
        "[kafka]\nsasl_pasword = \"hush-hush\"\n",
        "[kafka]\nsasl_password = \"hush-hush\n",
        "[kafka]\nsasl_password = hush-hush\n",
    ] {
        let refused = File::new(text).refused(&[]);
        assert!(!refused.contains(HUSH), "{refused}");
    }
    let refused =
        File::new("").refused(&[("OMNI_KAFKA__SASL_PASWORD", HUSH), ("OMNI_KAFKA_SASL_PASSWORD", HUSH)]);
    assert!(!refused.contains(HUSH), "{refused}");
}
