//! What a ledger and a catalogue say, compared with what a program needs.

use std::collections::HashMap;

use omni_box_core::ErrorKind;
use omni_box_sql::{Applied, ExpectedTable, Migration, Migrations, SchemaDifference, Table};

use crate::dialect::MySql;

static MIGRATIONS: Migrations = Migrations {
    ledger: "create table {{omni_box_migrations}} (version int);\n",
    all: &[
        Migration {
            version: 1,
            name: "schema",
            template: "create table {{outbox_events}} (id int);\n",
            oldest: 1,
        },
        Migration { version: 3, name: "more", template: "create index {{outbox_events_more}};\n", oldest: 1 },
    ],
};

fn applied(entries: &[(i64, &str)]) -> Vec<Applied> {
    entries.iter().map(|(version, checksum)| (*version, (*checksum).to_owned(), None)).collect()
}

#[test]
fn everything_is_one_text_that_fills_the_ledger() {
    let [first, second] = MIGRATIONS.all else { panic!("there are two") };
    let mut renamed = MySql::default();
    renamed.names.set(Table::OutboxEvents, "o");
    renamed.names.set(Table::Migrations, "m");
    let expected = format!(
        "create table `m` (version int);\ncreate table `o` (id int);\n\
         insert into `m` (version, name, checksum, oldest) values (1, 'schema', '{}', 1);\ncreate index `o_more`;\n\
         insert into `m` (version, name, checksum, oldest) values (3, 'more', '{}', 1);\n",
        first.checksum(),
        second.checksum(),
    );
    assert_eq!(MIGRATIONS.sql(&renamed), expected);
    let sha_256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(Migration { version: 1, name: "abc", template: "abc", oldest: 1 }.checksum(), sha_256_of_abc);
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

/// A newer schema that names this program's version, or an older one, as the oldest that works with it is as good as its own.
#[test]
fn a_newer_schema_says_which_programs_it_is_for() {
    let [one, two] = [&MIGRATIONS.all[0], &MIGRATIONS.all[1]].map(Migration::checksum);
    let with = |newer: &[(i64, Option<i64>)]| {
        let mut applied = applied(&[(1, &one), (3, &two)]);
        applied.extend(newer.iter().map(|(version, oldest)| (*version, "?".to_owned(), *oldest)));
        applied
    };
    for newer in [&[(4, Some(3))][..], &[(4, Some(1)), (5, Some(3))]] {
        assert_eq!(MIGRATIONS.differences(&with(newer)), [], "{newer:?}");
        assert!(MIGRATIONS.next(&with(newer)).unwrap().is_none(), "{newer:?}");
    }
    for newer in
        [&[(4, Some(4))][..], &[(4, None)], &[(4, Some(4)), (5, Some(3))], &[(4, Some(3)), (5, Some(5))]]
    {
        let found = newer.last().unwrap().0;
        let difference = SchemaDifference::NewerSchema { found, known: 3 };
        assert_eq!(MIGRATIONS.differences(&with(newer)), [difference], "{newer:?}");
        assert!(MIGRATIONS.next(&with(newer)).is_err(), "{newer:?}");
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
