//! What cannot work ends soon, with one line that says why.

use std::net::TcpListener;

use crate::Run;

/// Checks for one line on stderr with all of these words, and that nothing was claimed.
#[track_caller]
fn check(args: &[&str], words: &[&str]) {
    let run = Run::new(args);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "no {word:?} in {}", run.stderr);
    }
    assert!(
        !run.stderr.contains("hush") && !run.stdout.contains("hush"),
        "a password is printed: {}",
        run.stderr
    );
    assert_eq!(run.stdout, "");
}

/// An address where no server listens any more.
fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn no_database() {
    let url = format!("postgres://me:hush@{}/shop", deserted());
    check(&["--database-url", &url], &["cannot connect to PostgreSQL", "Connection refused"]);
}

#[test]
fn a_database_that_does_not_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("postgres://me:hush@{}/shop", silent.local_addr().expect("it is bound"));
    check(&["--database-url", &url], &["PostgreSQL did not answer in 5s"]);
}

#[test]
fn no_url_of_postgres() {
    check(&["--database-url", "postgres://me:hush@host:port/shop"], &["is not a URL of PostgreSQL", "port"]);
}

#[test]
fn another_database() {
    check(
        &["--database-url", "mysql://me:hush@host/shop"],
        &["mysql is not a database of this program", "postgres://"],
    );
}

#[test]
fn a_path_without_its_directory() {
    check(
        &["--database-url", "no/such/directory/shop.db"],
        &["cannot make the SQLite file no/such/directory/shop.db"],
    );
}

#[test]
fn no_broker() {
    let brokers = deserted();
    check(&["--brokers", &brokers], &[&format!("no Kafka broker answers at {brokers}")]);
}
