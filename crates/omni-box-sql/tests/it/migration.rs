//! What a ledger and a catalogue say, compared with what a program needs.

use std::collections::HashMap;

use omni_box_core::ErrorKind;
use omni_box_sql::{ExpectedTable, Migration, Migrations, SchemaDifference, Table};

use crate::dialect::MySql;

static MIGRATIONS: Migrations = Migrations {
    ledger: "create table {{omni_box_migrations}} (version int);\n",
    all: &[
        Migration { version: 1, name: "schema", template: "create table {{outbox_events}} (id int);\n" },
        Migration { version: 3, name: "more", template: "create index {{outbox_events_more}};\n" },
    ],
};

fn applied(entries: &[(i64, &str)]) -> Vec<(i64, String)> {
    entries.iter().map(|(version, checksum)| (*version, (*checksum).to_owned())).collect()
}

#[test]
fn everything_is_one_text_that_fills_the_ledger() {
    let [first, second] = MIGRATIONS.all else { panic!("there are two") };
    let mut renamed = MySql::default();
    renamed.names.set(Table::OutboxEvents, "o");
    renamed.names.set(Table::Migrations, "m");
    let expected = format!(
        "create table `m` (version int);\ncreate table `o` (id int);\n\
         insert into `m` (version, name, checksum) values (1, 'schema', '{}');\ncreate index `o_more`;\n\
         insert into `m` (version, name, checksum) values (3, 'more', '{}');\n",
        first.checksum(),
        second.checksum(),
    );
    assert_eq!(MIGRATIONS.sql(&renamed), expected);
    let sha_256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Migration { version: 1, name: "abc", template: "abc" }.checksum(), sha_256_of_abc);
}

#[test]
fn migrations_are_applied_in_order_until_none_is_left() {
    let [first, second] = MIGRATIONS.all else { panic!("there are two") };
    let [one, two] = [first, second].map(|migration| migration.checksum());
    let next = |entries: &[(i64, &str)]| {
        MIGRATIONS.next(&applied(entries)).unwrap().map(|migration| migration.version)
    };
    assert_eq!(next(&[]), Some(1));
    assert_eq!(next(&[(1, &one)]), Some(3));
    assert_eq!(next(&[(3, &two)]), Some(1), "one that was left out is made up for");
    assert_eq!(next(&[(1, &one), (3, &two)]), None);
    assert_eq!(MIGRATIONS.version(), 3);
    for (entries, says) in [
        (vec![(1, "other")], "migration 1 was applied with another text than this program has"),
        (
            vec![(1, one.as_str()), (3, &two), (4, "?"), (9, "?")],
            "the schema has version 9, this program knows versions up to 3",
        ),
    ] {
        let error = MIGRATIONS.next(&applied(&entries)).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Misconfigured, says));
    }
}

#[test]
fn every_difference_of_a_ledger_is_named() {
    use SchemaDifference::{MissingMigration, NewerSchema, UnexpectedChecksum};
    assert_eq!(MIGRATIONS.differences(&[]), [MissingMigration(1), MissingMigration(3)]);
    let found = MIGRATIONS.differences(&applied(&[(1, "other"), (7, "?")]));
    assert_eq!(found, [UnexpectedChecksum(1), MissingMigration(3), NewerSchema { found: 7, known: 3 }]);
}

#[test]
fn every_difference_of_a_table_is_named() {
    let expected = ExpectedTable {
        table: Table::OutboxEvents,
        columns: "id char, payload json|text, seq bigint, \
                  topic varchar",
        indexes: &["_hot", "_due"],
    };
    let mut config = MySql::default();
    config.names.set(Table::OutboxEvents, "events");
    let compare = |columns: &[(&str, &str)], indexes: &[&str]| {
        let columns: HashMap<String, String> =
            columns.iter().map(|(name, of)| ((*name).to_owned(), (*of).to_owned())).collect();
        let indexes: Vec<String> = indexes.iter().map(|&index| index.to_owned()).collect();
        expected.differences(&config, &columns, &indexes)
    };
    let columns =
        [("id", "char"), ("payload", "text"), ("seq", "bigint"), ("topic", "varchar"), ("ours", "int")];
    assert_eq!(compare(&columns, &["events_due", "events_hot", "ours"]), []);
    assert_eq!(compare(&[], &[]), [SchemaDifference::MissingTable("events".into())]);

    let columns = [("id", "binary"), ("payload", "blob"), ("topic", "varchar")];
    let found = compare(&columns, &["outbox_events_hot", "events_due"]);
    let wanted = [
        "column id of table events is binary, needs to be char",
        "column payload of table events is blob, needs to be json|text",
        "column seq of table events is missing",
        "index events_hot of table events is missing or not valid",
    ];
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), wanted);
}
