//! What stands around the events that are drained: rows that wait or are done, and transactions that are open.

use anyhow::Result;
use omni_box_harness::TestDatabase;
use sqlx::{Connection, PgConnection, PgPool};

/// Keys of events that are held behind others in a deep table.
const HELD_KEYS: i64 = 1_000;

/// What there is beside the events.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Around {
    Nothing,
    /// One key is held back, with so many events behind it.
    HeldKey(usize),
    /// So many keys are held back by events of a topic that is missing; each is tried again within 30 s.
    ClosedTopic(usize),
    /// A transaction with an old snapshot, and one that has written something, stay open.
    Sessions,
    /// Rows that are done, held and scheduled for later, and one transaction with both a snapshot and a write.
    Deep {
        completed: usize,
        held: usize,
        later: usize,
    },
}

/// Transactions that stay open until this ends.
pub(crate) struct Open(Vec<PgConnection>);

impl Around {
    /// Writes the rows. The relay does not run yet.
    pub(crate) async fn fill(self, pool: &PgPool, topic: &str) -> Result<()> {
        match self {
            Self::Nothing | Self::Sessions => return Ok(()),
            Self::HeldKey(behind) => held(pool, topic, behind, 1).await?,
            Self::ClosedTopic(heads) => {
                let missing = format!("missing-{}", uuid::Uuid::new_v4().simple());
                sqlx::query(CLOSED).bind(missing).bind(heads as i64).execute(pool).await?;
            }
            Self::Deep { completed, held: behind, later } => {
                sqlx::query(COMPLETED).bind(topic).bind(completed as i64).execute(pool).await?;
                held(pool, topic, behind, HELD_KEYS).await?;
                sqlx::query(LATER).bind(topic).bind(later as i64).execute(pool).await?;
            }
        }
        // as autovacuum would have done by the time such a table exists
        sqlx::query("vacuum (analyze) outbox_events").execute(pool).await?;
        Ok(())
    }

    /// Opens the transactions: they are older than the events that follow.
    pub(crate) async fn open(self, database: &TestDatabase) -> Result<Open> {
        let mut open = Open(Vec::new());
        match self {
            Self::Sessions => {
                open.transaction(database, SNAPSHOT).await?;
                open.transaction(database, "select pg_current_xact_id()").await?;
            }
            Self::Deep { .. } => {
                let both = open.transaction(database, SNAPSHOT).await?;
                sqlx::raw_sql("select pg_current_xact_id()").execute(both).await?;
            }
            Self::Nothing | Self::HeldKey(_) | Self::ClosedTopic(_) => {}
        }
        Ok(open)
    }
}

impl Open {
    async fn transaction(
        &mut self,
        database: &TestDatabase,
        statement: &'static str,
    ) -> Result<&mut PgConnection> {
        let mut connection = PgConnection::connect_with(&database.pool().connect_options()).await?;
        sqlx::raw_sql("begin isolation level repeatable read").execute(&mut connection).await?;
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        self.0.push(connection);
        Ok(self.0.last_mut().expect("one was pushed"))
    }

    /// Ends them, and finds out whether they were open all the time.
    pub(crate) async fn close(self) -> Result<()> {
        for mut connection in self.0 {
            sqlx::raw_sql("commit").execute(&mut connection).await?;
            connection.close().await?;
        }
        Ok(())
    }
}

async fn held(pool: &PgPool, topic: &str, behind: usize, keys: i64) -> Result<()> {
    sqlx::query(HELD).bind(topic).bind(behind as i64).bind(keys).execute(pool).await?;
    Ok(())
}

/// A snapshot that is kept; it reads nothing of the outbox.
const SNAPSHOT: &str = "select count(*) from pg_class";

/// The first event of each key waits for an hour, the others wait behind it.
const HELD: &str = "
    insert into outbox_events (event_type, topic, partition_key, payload, held, head, hold_until)
    select
        'bench.event', $1, 'held-' || n % $3, json_build_object('key', -1, 'number', n, 'padding', repeat('x', 200)),
        true, n < $3, case when n < $3 then now() + interval '1 hour' end
    from generate_series(0, $2 + $3 - 1) n";

const CLOSED: &str = "
    insert into outbox_events (event_type, topic, partition_key, payload, held, head, hold_until)
    select
        'bench.event', $1, 'closed-' || n, json_build_object('key', -1, 'number', n, 'padding', repeat('x', 200)),
        true, true, now() + interval '30 s' * random()
    from generate_series(1, $2) n";

const COMPLETED: &str = "
    insert into outbox_events (event_type, topic, partition_key, payload, status, completed_at)
    select
        'bench.event', $1, 'done-' || n % 100000, json_build_object('key', -1, 'number', n, 'padding', repeat('x', 200)),
        'completed', now()
    from generate_series(1, $2) n";

const LATER: &str = "
    insert into outbox_events (event_type, topic, partition_key, payload, scheduled_at)
    select
        'bench.event', $1, 'later-' || n % 100000, json_build_object('key', -1, 'number', n, 'padding', repeat('x', 200)),
        now() + interval '1 day'
    from generate_series(1, $2) n";
