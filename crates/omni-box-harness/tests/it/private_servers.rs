use std::path::Path;

use anyhow::{Context, Result};
use omni_box_harness::services::local::{KafkaServer, PostgresServer};
use omni_box_harness::topic::{Isolation, Message, create_topic, produce, read_topic};
use omni_box_harness::{TestDatabase, servers};

#[tokio::test]
async fn postgres_keeps_commits_through_stop_and_kill() -> Result<()> {
    if servers().is_none() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut server = PostgresServer::start(dir.path()).await?;
    let url = server.url();
    let database = TestDatabase::create_on(&url).await?;
    sqlx::raw_sql("create table kept (id int); insert into kept values (1)").execute(database.pool()).await?;
    server.stop().await?;
    assert_eq!(server.pid(), None);
    assert!(sqlx::query("select 1").execute(database.pool()).await.is_err());
    server.start_again().await?;
    sqlx::query("insert into kept values (2)").execute(database.pool()).await?;
    server.kill().await?;
    server.start_again().await?;
    let kept: i64 = sqlx::query_scalar("select sum(id) from kept").fetch_one(database.pool()).await?;
    assert_eq!((kept, server.url()), (3, url));
    database.close().await?;
    let pid = server.pid().context("it runs")?;
    drop(server);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

#[tokio::test]
async fn kafka_keeps_messages_through_stop_and_kill() -> Result<()> {
    if servers().is_none() {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let mut server = KafkaServer::start(dir.path()).await?;
    let brokers = server.brokers();
    let topic = create_topic(&brokers, "harness", 1, &[]).await?;
    let message = [Message { value: Some(b"kept".to_vec()), ..Message::default() }];
    produce(&brokers, &topic, &message).await?;
    server.stop().await?;
    assert!(std::net::TcpStream::connect(&brokers).is_err());
    server.start_again().await?;
    produce(&brokers, &topic, &message).await?;
    server.kill().await?;
    server.start_again().await?;
    assert_eq!(server.brokers(), brokers);
    let records = read_topic(&brokers, &topic, Isolation::ReadCommitted).await?;
    assert_eq!(records.len(), 2);
    let pid = server.pid().context("it runs")?;
    drop(server);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}
