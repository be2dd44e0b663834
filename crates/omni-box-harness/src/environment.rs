//! The servers that a test may use, and what happens where there are none.

use std::fs::OpenOptions;
use std::io::Write;

/// Environment variable with the URL of a PostgreSQL database that the tests may create others from.
pub const DATABASE_URL: &str = "OMNI_BOX_DATABASE_URL";
/// Environment variable with Kafka's bootstrap servers.
pub const KAFKA_BROKERS: &str = "OMNI_BOX_KAFKA_BROKERS";
/// Environment variable that turns a skipped test into a failed one when it is `1`.
pub const REQUIRE: &str = "OMNI_BOX_TEST_REQUIRE";

/// Environment variable with the file to which every skipped test adds a line: its package and its name.
pub const SKIPPED: &str = "OMNI_BOX_TEST_SKIPPED";

/// Environment variable with a Python interpreter that has what `tests/it/interop/requirements.txt` of omni-box lists.
pub const PYTHON: &str = "OMNI_BOX_PYTHON";
/// Environment variable with a folder in which `node_modules` holds `pg`.
pub const NODE: &str = "OMNI_BOX_NODE";
/// Environment variable with the folder of a Go module that requires pgx; a test writes its `main.go`.
pub const GO: &str = "OMNI_BOX_GO";

/// Addresses of the servers that the environment names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Servers {
    /// Value of [`DATABASE_URL`].
    pub database_url: String,
    /// Value of [`KAFKA_BROKERS`].
    pub kafka_brokers: String,
}

/// Gives both servers, or says that the test is skipped.
///
/// # Panics
/// Where a server is missing and [`REQUIRE`] is `1`.
pub fn servers() -> Option<Servers> {
    crate::guard_log();
    let [database_url, kafka_brokers] = take([DATABASE_URL, KAFKA_BROKERS])?;
    Some(Servers { database_url, kafka_brokers })
}

/// Gives PostgreSQL's URL, or says that the test is skipped.
///
/// # Panics
/// Where it is missing and [`REQUIRE`] is `1`.
pub fn postgres() -> Option<String> {
    crate::guard_log();
    take([DATABASE_URL]).map(|[url]| url)
}

/// Gives Kafka's bootstrap servers, or says that the test is skipped.
///
/// # Panics
/// Where they are missing and [`REQUIRE`] is `1`.
pub fn kafka() -> Option<String> {
    crate::guard_log();
    take([KAFKA_BROKERS]).map(|[brokers]| brokers)
}

/// Gives the interpreter of [`PYTHON`], or says that the test is skipped.
pub fn python() -> Option<String> {
    language(PYTHON)
}

/// Gives the folder of [`NODE`], or says that the test is skipped.
pub fn node() -> Option<String> {
    language(NODE)
}

/// Gives the folder of [`GO`], or says that the test is skipped.
pub fn go() -> Option<String> {
    language(GO)
}

/// Not every machine has each language, so that [`REQUIRE`] is not asked.
fn language(variable: &str) -> Option<String> {
    let path = std::env::var(variable).ok().filter(|path| !path.is_empty());
    if path.is_none() {
        println!("skipped: set {variable} (cargo xtask test does where the language is installed)");
        note_skipped();
    }
    path
}

fn take<const N: usize>(variables: [&str; N]) -> Option<[String; N]> {
    match look_up(variables, |name| std::env::var(name).ok()) {
        Ok(values) => Some(values),
        Err(skipped) => {
            println!("{skipped}");
            note_skipped();
            None
        }
    }
}

fn note_skipped() {
    let Ok(file) = std::env::var(SKIPPED) else { return };
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let thread = std::thread::current();
    let line = format!("{package} {}\n", thread.name().unwrap_or("?"));
    let file = OpenOptions::new().create(true).append(true).open(file);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        println!("{SKIPPED}: {error}");
    }
}

fn look_up<const N: usize>(
    variables: [&str; N],
    env: impl Fn(&str) -> Option<String>,
) -> Result<[String; N], String> {
    let values = variables.map(|name| env(name).unwrap_or_default());
    if values.iter().all(|value| !value.is_empty()) {
        return Ok(values);
    }
    let missing = variables.join(" and ");
    assert!(env(REQUIRE).as_deref() != Some("1"), "{REQUIRE}=1 and not set: {missing}");
    Err(format!("skipped: set {missing} (cargo xtask services up prints them)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(set: &'static [(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn gives_what_is_set() {
        let env = env(&[(DATABASE_URL, "postgres://x"), (KAFKA_BROKERS, "y:1"), (REQUIRE, "1")]);
        assert_eq!(
            look_up([DATABASE_URL, KAFKA_BROKERS], env),
            Ok(["postgres://x".to_owned(), "y:1".to_owned()])
        );
    }

    #[test]
    fn says_what_a_skipped_test_needs() {
        let env = env(&[(DATABASE_URL, "postgres://x"), (KAFKA_BROKERS, "")]);
        let skipped = look_up([DATABASE_URL, KAFKA_BROKERS], env).unwrap_err();
        assert!(
            skipped.starts_with("skipped: set OMNI_BOX_DATABASE_URL and OMNI_BOX_KAFKA_BROKERS"),
            "{skipped}"
        );
    }

    #[test]
    #[should_panic(expected = "OMNI_BOX_TEST_REQUIRE=1 and not set: OMNI_BOX_KAFKA_BROKERS")]
    fn fails_instead_of_skipping_when_required() {
        let _ = look_up([KAFKA_BROKERS], env(&[(REQUIRE, "1")]));
    }
}
