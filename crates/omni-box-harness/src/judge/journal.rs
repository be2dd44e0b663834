//! The journal: what writers and handlers did, written by themselves inside the transactions that are judged.
//!
//! Stamps come from one sequence of the database, so they order events of different processes as they really happened. A stamp
//! drawn after another one was returned is greater. An event's `started` is drawn before it is enqueued, and its transaction's
//! commit is stamped after the commit has returned. A writer that dies in between loses a constraint and never makes a false one.

use sqlx::{Executor, PgConnection, Result};
use uuid::Uuid;

const TABLES: &str = "
create sequence if not exists chaos_clock as bigint cache 1;
create table if not exists chaos_journal (
    event_id uuid primary key,
    topic text not null,
    partition_key text,
    tx bigint not null default pg_current_xact_id()::text::bigint,
    started bigint not null default nextval('chaos_clock')
);
create table if not exists chaos_commits (
    tx bigint primary key,
    committed bigint not null default nextval('chaos_clock')
);
create table if not exists chaos_rollbacks (event_id uuid primary key, topic text not null);
create table if not exists chaos_effects (
    message_id text not null,
    consumer_group text not null,
    emitted uuid,
    handled bigint primary key default nextval('chaos_clock')
);
create index if not exists chaos_effects_message on chaos_effects (consumer_group, message_id);
";

/// An event that is about to be enqueued.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Its id.
    pub event_id: Uuid,
    /// The topic it goes to.
    pub topic: String,
    /// Its key.
    pub partition_key: Option<String>,
}

/// An event whose transaction committed, as its writer journaled it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enqueued {
    /// The event's id, as it is in the message's header.
    pub id: String,
    /// The topic it goes to.
    pub topic: String,
    /// Its key; without one no order is promised.
    pub key: Option<String>,
    /// Its transaction.
    pub tx: i64,
    /// A stamp drawn before it was enqueued; in one transaction, the order of enqueueing.
    pub started: i64,
    /// A stamp drawn after the commit had returned; `None` if the writer did not live to draw it.
    pub committed: Option<i64>,
}

/// Creates the journal's tables where they are missing.
///
/// # Errors
/// When the database fails.
pub async fn install(conn: &mut PgConnection) -> Result<()> {
    conn.execute(TABLES).await?;
    Ok(())
}

/// Notes events in the transaction that enqueues them next, in this order; returns the transaction's number.
///
/// # Errors
/// When the database fails.
pub async fn intend(conn: &mut PgConnection, intents: &[Intent]) -> Result<i64> {
    let ids: Vec<Uuid> = intents.iter().map(|intent| intent.event_id).collect();
    let topics: Vec<&str> = intents.iter().map(|intent| intent.topic.as_str()).collect();
    let keys: Vec<Option<&str>> = intents.iter().map(|intent| intent.partition_key.as_deref()).collect();
    sqlx::query(
        "insert into chaos_journal (event_id, topic, partition_key)
         select event_id, topic, partition_key
         from unnest($1::uuid[], $2::text[], $3::text[]) with ordinality as t (event_id, topic, partition_key, place)
         order by place",
    )
    .bind(ids)
    .bind(topics)
    .bind(keys)
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar("select pg_current_xact_id()::text::bigint").fetch_one(conn).await
}

/// Stamps a transaction whose commit has returned.
///
/// # Errors
/// When the database fails.
pub async fn committed(conn: &mut PgConnection, tx: i64) -> Result<()> {
    // a second stamp would only be later; the first is the sharper one
    sqlx::query("insert into chaos_commits (tx) values ($1) on conflict do nothing")
        .bind(tx)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes events that were enqueued and rolled back, outside the transaction that did.
///
/// # Errors
/// When the database fails.
pub async fn rolled_back(conn: &mut PgConnection, intents: &[Intent]) -> Result<()> {
    let ids: Vec<Uuid> = intents.iter().map(|intent| intent.event_id).collect();
    let topics: Vec<&str> = intents.iter().map(|intent| intent.topic.as_str()).collect();
    sqlx::query("insert into chaos_rollbacks select * from unnest($1::uuid[], $2::text[])")
        .bind(ids)
        .bind(topics)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes the effect of a message, in its handler's transaction.
///
/// # Errors
/// When the database fails.
pub async fn effect(
    conn: &mut PgConnection,
    message_id: &str,
    consumer_group: &str,
    emitted: Option<Uuid>,
) -> Result<()> {
    sqlx::query("insert into chaos_effects (message_id, consumer_group, emitted) values ($1, $2, $3)")
        .bind(message_id)
        .bind(consumer_group)
        .bind(emitted)
        .execute(conn)
        .await?;
    Ok(())
}
