//! What `on_begin` sets holds for every statement that changes a row.

use std::sync::Arc;
use std::time::Duration;

use omni_box_core::{
    Activity, Attempt, BatchSize, BulkOperations, ClaimToken, DistributedLocking, Error, ErrorKind, Event,
    EventRepository, Failure, FetchFilters, LaneRead, LaneSettlement, OrderedLanes, OutboxEvent, OutboxExt,
    OwnerId, Retry, Store, WorkerId,
};
use omni_box_postgres::{BeginHook, HookError, PgConfig, PgStore};
use sqlx::PgConnection;

use crate::database::{Database, event, request, run};

/// Notes under which setting each statement changed a table.
const WATCH: &str = "
    create table changes (what text, tenant text);
    create function note() returns trigger language plpgsql as $$
    begin
        insert into changes values (tg_table_name || ' ' || tg_op, current_setting('app.tenant', true));
        return null;
    end $$;
    create trigger note after insert or update or delete on outbox_events for each statement execute function note();
    create trigger note after insert or update or delete on outbox_lanes for each statement execute function note();
    create trigger note after insert or update or delete on outbox_relays for each statement execute function note();
";

fn hooked(db: &Database) -> PgStore {
    async fn set_tenant(conn: &mut PgConnection) -> sqlx::Result<()> {
        sqlx::query("set local app.tenant = '7'").execute(conn).await?;
        Ok(())
    }
    PgStore::new(db.pool.clone(), PgConfig::default()).on_begin(set_tenant)
}

#[tokio::test]
async fn every_transaction_of_the_engine_begins_with_the_hook() {
    run(async |db: Arc<Database>| {
        db.execute(WATCH).await;
        let store = hooked(&db);
        let mut tx = store.begin().await.unwrap();
        let events: Vec<OutboxEvent> = ["a", "b", "c"].into_iter().map(event).collect();
        store.create_many(&mut tx, &events).await.unwrap();
        store.commit(tx).await.unwrap();

        // as relays with lanes do it
        let owner = OwnerId::generate();
        let leases = store.lease(&request(owner, Duration::from_secs(60))).await.unwrap().leases;
        store.announce(owner, &leases, Activity::Idle).await.unwrap();
        let reads: Vec<LaneRead> = leases.iter().map(|lease| LaneRead::all(lease.lane, 10)).collect();
        assert_eq!(store.fetch(&reads, &[], &[], 1 << 20).await.unwrap().events.len(), 3);
        let settlement = LaneSettlement { completed: vec![events[0].id()], ..LaneSettlement::default() };
        OrderedLanes::settle(&store, owner, &leases, &settlement).await.unwrap();
        store.leave(owner).await.unwrap();

        // as relays that claim rows do it
        let token = ClaimToken::new(&WorkerId::new("w").unwrap(), owner);
        let locking = store.outbox().locking().unwrap();
        let filters = FetchFilters::new();
        let claimed = locking
            .claim(&token, BatchSize::new(10).unwrap(), Duration::from_secs(60), &filters)
            .await
            .unwrap();
        assert_eq!(claimed.len(), 2);
        let ids: Vec<_> = claimed.iter().map(Event::id).collect();
        DistributedLocking::<OutboxEvent>::refresh(&store, &token, &ids).await.unwrap();
        BulkOperations::<OutboxEvent>::complete_many(&store, &ids[..1], &token).await.unwrap();
        let failure = Failure::new("no", Attempt::Counted, Retry::Never);
        assert!(store.outbox().mark_failed(ids[1], &token, &failure).await.unwrap());

        let changes: i64 = db.scalar("select count(*) from changes").await;
        assert!(changes >= 10, "the triggers have seen {changes} statements");
        let strays: Vec<String> =
            sqlx::query_scalar("select distinct what from changes where tenant is distinct from '7'")
                .fetch_all(&db.pool)
                .await
                .unwrap();
        assert_eq!(strays, [""; 0], "changed without the hook's setting");
    })
    .await;
}

#[tokio::test]
async fn a_hook_that_fails_ends_the_transaction_before_anything_is_written() {
    run(async |db: Arc<Database>| {
        let store =
            PgStore::new(db.pool.clone(), PgConfig::default()).on_begin(async |_: &mut PgConnection| {
                Err(Error::new(ErrorKind::Unauthorized, "no such tenant"))
            });
        let Err(error) = store.begin().await else { panic!("begun in spite of the hook") };
        assert_eq!(
            (error.kind(), error.to_string().contains("no such tenant")),
            (ErrorKind::Unauthorized, true)
        );
        let error = store.lease(&request(OwnerId::generate(), Duration::from_secs(60))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
        assert_eq!(db.scalar::<i64>("select count(*) from outbox_relays").await, 0);
        // the connections are fit for use
        db.enqueue(&[event("k")]).await;
    })
    .await;
}

/// Rows of a tenant, behind a policy: a store whose hook names the tenant sees no other's, and leaves no trace on its connections.
#[tokio::test]
async fn row_level_security_hides_the_rows_of_other_tenants() {
    run(async |db: Arc<Database>| {
        let role = format!("app_{}", uuid::Uuid::new_v4().simple());
        db.execute(&format!(
            "create role {role};
             grant select, insert, update, delete on all tables in schema public to {role};
             alter table outbox_events add column tenant text default current_setting('app.tenant', true);
             alter table outbox_events enable row level security;
             create policy tenants on outbox_events using (tenant = current_setting('app.tenant', true))"
        ))
        .await;
        let store_of = |tenant: &str| {
            let hook = Tenant { role: role.clone(), tenant: tenant.to_owned() };
            PgStore::new(db.pool.clone(), PgConfig::default()).on_begin(hook)
        };
        let (one, other) = (store_of("one"), store_of("other"));
        for (store, key) in [(&one, "a"), (&other, "b")] {
            let mut tx = store.begin().await.unwrap();
            store.create(&mut tx, &event(key)).await.unwrap();
            store.commit(tx).await.unwrap();
        }
        for (store, key) in [(&one, "a"), (&other, "b")] {
            let seen = store
                .outbox()
                .fetch_pending(BatchSize::new(10).unwrap(), &FetchFilters::new())
                .await
                .unwrap();
            let keys: Vec<_> = seen.iter().map(OutboxEvent::partition_key).collect();
            assert_eq!(keys, [Some(key)]);
        }
        let (user, tenant): (String, Option<String>) =
            sqlx::query_as("select current_user::text, nullif(current_setting('app.tenant', true), '')")
                .fetch_one(&db.pool)
                .await
                .unwrap();
        assert_ne!((user, tenant.as_deref()), (role.clone(), Some("other")));
        assert_eq!(tenant, None);
        db.execute(&format!("drop owned by {role}; drop role {role}")).await;
    })
    .await;
}

struct Tenant {
    role: String,
    tenant: String,
}

impl BeginHook for Tenant {
    async fn begin(&self, conn: &mut PgConnection) -> Result<(), HookError> {
        sqlx::query("select set_config('role', $1, true), set_config('app.tenant', $2, true)")
            .bind(&self.role)
            .bind(&self.tenant)
            .execute(conn)
            .await?;
        Ok(())
    }
}
