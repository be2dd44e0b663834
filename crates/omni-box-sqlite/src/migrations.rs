//! The migrations, as text.

use omni_box_sql::{Migration, Migrations};

pub(crate) static MIGRATIONS: Migrations = Migrations {
    ledger: "create table if not exists {{omni_box_migrations}} (
    version integer not null primary key,
    name text not null,
    checksum text not null,
    -- the oldest version whose programs work with the schema; null: its own
    oldest integer,
    applied_at integer not null default {{machine_clock}}
) strict;
",
    all: &[Migration {
        version: 1,
        name: "schema",
        template: include_str!("../migrations/0001_schema.sql"),
        oldest: 1,
    }],
};
