use anyhow::Result;
use omni_box_harness::{TestDatabase, postgres};
use sqlx::{Connection, PgConnection};

async fn exists(url: &str, name: &str) -> Result<bool> {
    let mut conn = PgConnection::connect(url).await?;
    let found = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(name)
        .fetch_one(&mut conn)
        .await?;
    conn.close().await?;
    Ok(found)
}

#[tokio::test]
async fn a_database_is_ones_own_and_goes_with_its_connections() -> Result<()> {
    let Some(server) = postgres() else { return Ok(()) };
    let (one, two) = (TestDatabase::create().await?, TestDatabase::create().await?);
    sqlx::raw_sql("create table mine (id int)").execute(one.pool()).await?;
    let seen: Option<String> =
        sqlx::query_scalar("select to_regclass('mine')::text").fetch_one(two.pool()).await?;
    assert_eq!(seen, None);

    let mut other = PgConnection::connect(&one.url()).await?;
    let current: String = sqlx::query_scalar("select current_database()").fetch_one(&mut other).await?;
    assert_eq!(current, one.name());

    let name = one.name().to_owned();
    one.close().await?;
    assert!(!exists(&server, &name).await?);
    assert!(other.ping().await.is_err(), "the drop cuts open connections");
    two.close().await
}

#[tokio::test]
async fn a_database_that_nobody_closed_is_dropped_too() -> Result<()> {
    let Some(server) = postgres() else { return Ok(()) };
    let database = TestDatabase::create().await?;
    let name = database.name().to_owned();
    assert!(exists(&server, &name).await?);
    drop(database);
    assert!(!exists(&server, &name).await?);
    Ok(())
}
