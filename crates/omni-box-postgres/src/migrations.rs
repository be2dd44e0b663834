//! The migrations, as text.

use omni_box_sql::{Migration, Migrations};

pub(crate) static MIGRATIONS: Migrations = Migrations {
    ledger: "create table {{omni_box_migrations}} (
    version integer not null,
    name text not null,
    checksum text not null,
    -- the oldest version whose programs work with the schema; null: its own
    oldest integer,
    applied_at timestamptz not null default now(),
    constraint {{omni_box_migrations_pkey}} primary key (version)
);
",
    all: &[Migration {
        version: 1,
        name: "schema",
        template: include_str!("../migrations/0001_schema.sql"),
        oldest: 1,
    }],
};
