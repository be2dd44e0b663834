//! Names that tables can have.

use omni_box_core::{Error, ErrorKind, Result};
use omni_box_sql::{Table, TableNames};

fn check(names: &TableNames) -> Result<()> {
    let at_most_16 = |what: &str, name: &str| match name.len() {
        0..=16 => Ok(()),
        length => Err(Error::new(ErrorKind::Misconfigured, format!("the name of {what} has {length} bytes"))),
    };
    names.check(at_most_16, str::eq_ignore_ascii_case)
}

#[test]
fn names_that_cannot_be_are_refused() {
    for (name, says) in [
        ("", "the name of inbox_events is empty"),
        ("a\0b", "the name of inbox_events contains a NUL character"),
        ("12345678901234567", "the name of inbox_events has 17 bytes"),
        ("OUTBOX_EVENTS", "tables outbox_events and inbox_events have the same name"),
    ] {
        let mut names = TableNames::default();
        names.set(Table::Migrations, "migrations");
        names.set(Table::Breakers, "breakers");
        check(&names).unwrap();
        names.set(Table::InboxEvents, name);
        let error = check(&names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert_eq!(error.to_string(), says);
    }
}
