//! A service's database, topics and programs, of a test's own, and the judge at its end.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use omni_box_harness::judge::{Judge, Verdict};
use omni_box_harness::process::{Child, workspace_binary};
use omni_box_harness::services::default_dir;
use omni_box_harness::{TestDatabase, eventually, servers, topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
    TopicResult,
};
use rdkafka::client::DefaultClientContext;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool};
use tokio::process::Command;
use tokio::time::timeout;

/// How long anything that should happen soon may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);
/// How long it may take until everything that was enqueued has arrived.
pub const SETTLES: Duration = Duration::from_secs(60);

/// A consumer that does not answer should lose its partitions within a test's time.
pub const SESSION: &str = "--property session.timeout.ms=2000 --property heartbeat.interval.ms=500";

/// Where the servers are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// A URL of PostgreSQL.
    pub database_url: String,
    /// Kafka's bootstrap servers.
    pub brokers: String,
}

/// A service: a database and programs of its own, on servers that it shares.
pub struct World {
    database: TestDatabase,
    /// Kafka's bootstrap servers.
    pub brokers: String,
    programs: Addresses,
    logs: PathBuf,
}

impl World {
    /// On the shared servers; `None` where there are none.
    pub async fn new(test: &str) -> Result<Option<Self>> {
        let Some(servers) = servers() else { return Ok(None) };
        Ok(Some(Self::on(test, &servers.database_url, &servers.kafka_brokers).await?))
    }

    /// On servers of a test's own. The logs of its programs are in `target/chaos`, in a folder named for the test.
    ///
    /// # Errors
    /// When the servers refuse.
    pub async fn on(test: &str, database_url: &str, brokers: &str) -> Result<Self> {
        let both = Addresses { database_url: database_url.to_owned(), brokers: brokers.to_owned() };
        Self::behind(test, &both, &both).await
    }

    /// The same where programs reach the servers by other addresses than the judge, such as a proxy's. The database belongs to the role that
    /// the programs log in as.
    ///
    /// # Errors
    /// When the servers refuse.
    pub async fn behind(test: &str, direct: &Addresses, programs: &Addresses) -> Result<Self> {
        let logs = default_dir().with_file_name("chaos").join(test);
        // the logs of the last run would only mislead
        let _ = std::fs::remove_dir_all(&logs);
        std::fs::create_dir_all(&logs)?;
        let database = TestDatabase::create_on(&direct.database_url).await?;
        let of_programs: PgConnectOptions = programs.database_url.parse()?;
        // a name of ours, without quotes in it
        let owner = format!("alter database {} owner to {}", database.name(), of_programs.get_username());
        sqlx::raw_sql(AssertSqlSafe(owner)).execute(database.pool()).await?;
        let programs = Addresses {
            database_url: of_programs.database(database.name()).to_url_lossy().to_string(),
            brokers: programs.brokers.clone(),
        };
        let world = Self { database, brokers: direct.brokers.clone(), programs, logs };
        world.run("prepare", "prepare").await?;
        Ok(world)
    }

    /// Creates a topic whose name begins so.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn topic(&self, name: &str, partitions: i32) -> Result<String> {
        topic::create_topic(&self.brokers, name, partitions, &[]).await
    }

    /// Creates a topic that was missing so far.
    pub async fn create_missing(&self, topic: &str) -> Result<()> {
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
        all_done(self.admin()?.create_topics([&new], &AdminOptions::new()).await?, "create")
    }

    /// Deletes a topic with all that is in it.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        all_done(self.admin()?.delete_topics(&[topic], &AdminOptions::new()).await?, "delete")
    }

    /// Adds partitions to a topic, so that it has `count`.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn add_partitions(&self, topic: &str, count: usize) -> Result<()> {
        let more = NewPartitions::new(topic, count);
        all_done(self.admin()?.create_partitions([&more], &AdminOptions::new()).await?, "add partitions to")
    }

    /// Sets how many replicas a topic must have to take a message; here are none but one.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub async fn require_replicas(&self, topic: &str, replicas: u8) -> Result<()> {
        let replicas = replicas.to_string();
        let config = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("min.insync.replicas", &replicas);
        for altered in self.admin()?.alter_configs([&config], &AdminOptions::new()).await? {
            altered.map_err(|(_, code)| anyhow!("cannot alter {topic}: {code}"))?;
        }
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", &self.brokers).create()?)
    }

    /// Starts a program and waits until it works. Its log is named for it.
    pub async fn start(&self, name: &str, command: &str) -> Result<Program> {
        let mut program = self.spawn(name, command)?;
        program.child.line(SOON, |line| line == "ready").await?;
        Ok(program)
    }

    /// Runs a program to its end.
    pub async fn run(&self, name: &str, command: &str) -> Result<()> {
        self.spawn(name, command)?.finish(SETTLES).await
    }

    /// Starts a program and does not wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, name: &str, command: &str) -> Result<Program> {
        let mut program = Command::new(workspace_binary("omni-box-chaos")?);
        program
            .args(["--name", name, "--database-url", &self.programs.database_url])
            .args(["--brokers", &self.programs.brokers])
            .args(command.split_whitespace());
        Ok(Program { child: Child::spawn(program, &self.logs.join(format!("{name}.log")))? })
    }

    /// The service's database.
    pub fn database(&self) -> &PgPool {
        self.database.pool()
    }

    /// Executes statements.
    ///
    /// # Errors
    /// When one fails or hangs.
    pub async fn execute(&self, sql: &'static str) -> Result<()> {
        // what a frozen program has locked stays locked
        timeout(SOON, sqlx::raw_sql(sql).execute(self.database.pool()))
            .await
            .context("a statement hangs")??;
        Ok(())
    }

    /// Executes a statement with a parameter.
    ///
    /// # Errors
    /// When it fails.
    pub async fn execute_with(&self, sql: &'static str, parameter: &str) -> Result<()> {
        sqlx::query(sql).bind(parameter).execute(self.database.pool()).await?;
        Ok(())
    }

    /// A number from the database.
    pub async fn count(&self, sql: impl Into<String>) -> Result<i64> {
        Ok(sqlx::query_scalar(AssertSqlSafe(sql.into())).fetch_one(self.database.pool()).await?)
    }

    /// Waits until a query says true; while the database is away it says nothing.
    #[track_caller]
    pub fn until(&self, within: Duration, sql: impl Into<String>) -> impl Future<Output = ()> {
        let sql = format!("select case when ({}) then 1 else 0 end::bigint", sql.into());
        eventually(within, async move || self.count(&sql).await.is_ok_and(|yes| yes == 1))
    }

    /// Waits until `more` events are completed than are now: the relays work.
    pub async fn progress(&self, more: i64) -> Result<()> {
        let now = self.count("select count(*) from outbox_events where status = 'completed'").await?;
        let sql = format!("select count(*) >= {} from outbox_events where status = 'completed'", now + more);
        self.until(SOON, sql).await;
        Ok(())
    }

    /// Waits until nothing is pending in the outbox.
    #[track_caller]
    pub fn settled(&self) -> impl Future<Output = ()> {
        self.until(SETTLES, "select not exists (select from outbox_events where status = 'pending')")
    }

    /// From now on notes every change of an event's status that does not come from the owner of its lane.
    pub async fn watch_marks(&self) -> Result<()> {
        self.execute(
            "create table chaos_thefts (event_id uuid, worker text);
             create function chaos_watch() returns trigger language plpgsql as $$
             begin
                 if not exists (select from outbox_lanes
                                where lane = new.lane and worker = current_setting('application_name')) then
                     insert into chaos_thefts values (new.id, current_setting('application_name'));
                 end if;
                 return null;
             end $$;
             create trigger chaos_watch after update of status on outbox_events
             for each row when (new.status <> old.status) execute function chaos_watch();",
        )
        .await
    }

    /// A judge of the outbox.
    pub fn judge(&self) -> Judge {
        Judge::new(&self.brokers).outbox(self.database())
    }

    /// Has the outbox and the topics judged, and fails unless every promise was kept.
    pub async fn judged(&self) -> Result<Verdict> {
        clean(&self.judge()).await
    }
}

/// Fails unless every promise was kept.
pub async fn clean(judge: &Judge) -> Result<Verdict> {
    let verdict = judge.verdict().await?;
    println!("{verdict}");
    ensure!(verdict.is_clean(), "a promise was broken:\n{verdict}");
    Ok(verdict)
}

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
}

impl Program {
    /// Waits until a consumer stands still, where it was told to.
    pub async fn frozen(&mut self) -> Result<()> {
        self.child.line(SOON, |line| line == "frozen").await?;
        Ok(())
    }

    /// `kill -9`.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.sigkill()?;
        self.child.wait(SOON).await?;
        Ok(())
    }

    /// SIGSTOP.
    pub fn freeze(&self) -> Result<()> {
        self.child.sigstop()
    }

    /// SIGCONT.
    pub fn thaw(&self) -> Result<()> {
        self.child.sigcont()
    }

    /// SIGTERM, and waits for an end in order.
    pub async fn stop(&mut self) -> Result<()> {
        self.ask_to_stop()?;
        self.finish(SOON).await
    }

    /// SIGTERM.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.child.sigterm()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for its end in order.
    pub async fn finish(&mut self, within: Duration) -> Result<()> {
        self.child.line(within, |line| line == "done").await?;
        let status = self.child.wait(SOON).await?;
        ensure!(status.success(), "ended with {status}");
        Ok(())
    }

    /// Whether it runs, or is frozen.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        self.child.is_running().context("cannot tell whether it runs")
    }
}

fn all_done(topics: Vec<TopicResult>, what: &str) -> Result<()> {
    topics
        .into_iter()
        .try_for_each(|done| done.map(drop).map_err(|(topic, code)| anyhow!("cannot {what} {topic}: {code}")))
}
