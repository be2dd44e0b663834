//! One plan played on the stage, and judged.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use omni_box_harness::judge::journal::{self, Intent};
use omni_box_harness::judge::{InboxExpectation, Verdict};
use omni_box_harness::topic::{self, Message};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Transaction};

use super::cast::{Cast, PROGRAMS};
use super::fault::{Fault, Hostility, Table};
use super::plan::{Plan, Step};
use super::stage::{ROLE, Stage};
use crate::shop::Shop;
use crate::world::{Program, SETTLES, World, clean};

/// How long a fault that needs a lock waits for it; without it nothing is locked.
const LOCKED: &str = "set lock_timeout = 5000";

/// What became of a plan that broke no promise.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Faults that were done.
    pub faults: usize,
    /// What the judge found.
    pub verdict: Verdict,
    /// Time from the last fault until everything had arrived.
    pub caught_up: Duration,
}

/// What is left to undo when the faults of a step have ended.
enum Undo {
    Transaction(Transaction<'static, Postgres>),
    /// A short writer, and the topic that it misses.
    Writer(Box<Program>, Option<String>),
    Nothing,
}

/// Databases, topics and programs of one plan.
pub(super) struct Play<'a> {
    stage: &'a mut Stage,
    shop: Shop,
    cast: Cast,
    expected: InboxExpectation,
    extras: usize,
    /// Topics that were deleted with what had arrived in them.
    deleted: Vec<String>,
    /// Topics that got more partitions.
    grown: Vec<String>,
}

impl<'a> Play<'a> {
    pub(super) async fn begin(stage: &'a mut Stage, name: &str, mode: &str) -> Result<Self> {
        stage.restore().await?;
        let shop = Shop::behind(name, &stage.direct, &stage.proxied).await?;
        for world in [&shop.ordering, &shop.shipping] {
            world.run("mode", &format!("mode {mode}")).await?;
        }
        let cast = Cast::start(&shop).await?;
        shop.progress(20).await?;
        let expected = shop.expectation();
        Ok(Self { stage, shop, cast, expected, extras: 0, deleted: Vec::new(), grown: Vec::new() })
    }

    /// Does all that is planned, and judges what became of it.
    ///
    /// # Errors
    /// When a promise was broken, or a program ended by itself.
    pub(super) async fn run(mut self, plan: &Plan) -> Result<Outcome> {
        let mut done = 0;
        for step in &plan.steps {
            let names: Vec<String> = step.faults.iter().map(Fault::to_string).collect();
            let begun = Instant::now();
            self.step(step).await.with_context(|| format!("at {}", names.join(", ")))?;
            done += step.faults.len();
            let seconds = begun.elapsed().as_secs_f64();
            eprintln!("[{done}/{}] {} ({seconds:.1} s)", plan.faults(), names.join(", "));
        }
        let last_fault = Instant::now();
        self.stage.restore().await?;
        self.cast.end_writers().await?;
        self.catch_up(last_fault + SETTLES).await?;
        let caught_up = last_fault.elapsed();
        self.cast.check_alive()?;
        self.cast.check_idle().await?;
        self.cast.end_all().await?;
        // each of their events has left the outbox; what of them can be found is chance
        sqlx::query("delete from chaos_journal where topic = any($1)")
            .bind(&self.deleted)
            .execute(self.shop.ordering.database())
            .await?;
        let judge = self.shop.judge().grown(self.grown);
        let verdict = clean(&judge.inbox(self.shop.shipping.database(), self.expected)).await?;
        Ok(Outcome { faults: done, verdict, caught_up })
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        // what is done to programs and messages needs servers that answer
        let (servers, others): (Vec<_>, Vec<_>) =
            step.faults.iter().partition(|fault| fault.takes_a_server_away());
        let mut undo = Vec::new();
        for fault in others.iter().chain(&servers) {
            undo.push(self.begin_fault(fault).await?);
        }
        tokio::time::sleep(step.lasts()).await;
        for fault in servers.iter().chain(&others) {
            self.end_fault(fault).await?;
        }
        for undo in undo {
            self.undo(undo).await?;
        }
        tokio::time::sleep(step.calm()).await;
        self.cast.check_alive()
    }

    async fn begin_fault(&mut self, fault: &Fault) -> Result<Undo> {
        match fault {
            Fault::Kill(program) => self.cast.kill(*program).await?,
            Fault::Freeze(program) => self.cast.freeze(*program)?,
            Fault::Restart(program) => self.cast.ask_to_stop(*program)?,
            Fault::RollingRestart => {
                for program in 0..PROGRAMS {
                    self.cast.restart(program, &self.shop).await?;
                }
            }
            Fault::Stop(server) => self.stage.stop(*server).await?,
            Fault::Crash(server) => self.stage.crash(*server).await?,
            Fault::Hang(server) => self.stage.freeze(*server)?,
            Fault::Cut(server) => self.stage.network(*server).cut(),
            Fault::Vanish(server) => self.stage.network(*server).freeze(),
            Fault::Silence(server) => {
                self.stage.network(*server).freeze();
                self.stage.network(*server).freeze_new();
            }
            Fault::Refuse(server) => {
                self.stage.network(*server).refuse_new();
                self.stage.network(*server).cut();
            }
            Fault::Slow(server) => self.stage.network(*server).delay(Duration::from_millis(50)),
            Fault::LockTable(table) => {
                let world = match table {
                    Table::Inbox => &self.shop.shipping,
                    Table::Outbox | Table::Lanes => &self.shop.ordering,
                };
                return hold(world, table.lock()).await;
            }
            Fault::LockLane => {
                let lane = "select 1 from outbox_lanes where lane = 3 for update";
                return hold(&self.shop.ordering, lane).await;
            }
            Fault::OldSnapshot => {
                let look =
                    "set transaction isolation level repeatable read; select count(*) from outbox_events";
                return hold(&self.shop.ordering, look).await;
            }
            Fault::Terminate => self.terminate().await?,
            Fault::ReadOnly => {
                self.on_databases("alter database {} set default_transaction_read_only = on").await?;
                self.terminate().await?;
            }
            Fault::Ddl => self.retype("varchar(200)").await?,
            Fault::Crowd => {
                self.as_admin("alter role service connection limit 4").await?;
                self.terminate().await?;
            }
            Fault::ShortStatements => {
                self.as_admin("alter role service set statement_timeout = 500").await?;
                self.terminate().await?;
            }
            Fault::Guard => {
                let guard = "create function refuse() returns trigger language plpgsql as $$
                     begin raise 'refused' using errcode = '54000'; end $$;
                     create trigger refuse before insert on inbox_events for each row execute function refuse()";
                self.alter(&self.shop.shipping, guard).await?;
            }
            Fault::MissingTopic => {
                let (topic, writer) = self.late_writer(0)?;
                return Ok(Undo::Writer(writer, Some(topic)));
            }
            Fault::DeletedTopic => {
                let (topic, writer) = self.written_topic().await?;
                self.shop.ordering.delete_topic(&topic).await?;
                self.deleted.push(topic.clone());
                return Ok(Undo::Writer(writer, Some(topic)));
            }
            Fault::MorePartitions => {
                let (topic, writer) = self.written_topic().await?;
                self.shop.ordering.add_partitions(&topic, 3).await?;
                self.grown.push(topic);
                return Ok(Undo::Writer(writer, None));
            }
            Fault::FewReplicas => self.shop.ordering.require_replicas(&self.shop.orders, 2).await?,
            Fault::SkewedClock => {
                let offset = if self.extras.is_multiple_of(2) { 60_000 } else { -60_000 };
                let command = format!("--topic {} --clock-offset-ms {offset}", self.shop.orders);
                return Ok(Undo::Writer(Box::new(self.writer(&command)?), None));
            }
            Fault::Hostile(hostility) => self.send(*hostility).await?,
        }
        Ok(Undo::Nothing)
    }

    async fn undo(&mut self, undo: Undo) -> Result<()> {
        match undo {
            // whether the server still knows of it does not matter
            Undo::Transaction(open) => drop(open.rollback().await),
            Undo::Writer(mut writer, missing) => {
                if let Some(topic) = missing {
                    self.shop.ordering.create_missing(&topic).await?;
                }
                writer.finish(SETTLES).await.context("the short writer does not end")?;
            }
            Undo::Nothing => {}
        }
        Ok(())
    }

    async fn end_fault(&mut self, fault: &Fault) -> Result<()> {
        match fault {
            Fault::Kill(program) => self.cast.start_again(*program, &self.shop).await,
            Fault::Freeze(program) => self.cast.thaw(*program),
            Fault::Restart(program) => {
                self.cast.ended(*program).await?;
                self.cast.start_again(*program, &self.shop).await
            }
            Fault::Stop(server) | Fault::Crash(server) => self.stage.start(*server).await,
            Fault::Hang(server) => self.stage.thaw(*server),
            Fault::FewReplicas => self.shop.ordering.require_replicas(&self.shop.orders, 1).await,
            Fault::Silence(server) => {
                self.stage.network(*server).pass_new();
                self.stage.network(*server).thaw();
                Ok(())
            }
            Fault::Refuse(server) => {
                self.stage.network(*server).pass_new();
                Ok(())
            }
            Fault::Slow(server) => {
                self.stage.network(*server).delay(Duration::ZERO);
                Ok(())
            }
            Fault::ReadOnly => {
                self.on_databases("alter database {} reset default_transaction_read_only").await
            }
            Fault::Ddl => self.retype("varchar(100)").await,
            Fault::Crowd => self.as_admin("alter role service connection limit -1").await,
            Fault::ShortStatements => {
                self.as_admin("alter role service reset statement_timeout").await?;
                self.terminate().await
            }
            Fault::Guard => {
                self.alter(&self.shop.shipping, "drop trigger refuse on inbox_events; drop function refuse()")
                    .await
            }
            _ => Ok(()),
        }
    }

    async fn as_admin(&self, statement: &'static str) -> Result<()> {
        sqlx::raw_sql(statement).execute(&mut self.stage.admin().await?).await?;
        Ok(())
    }

    /// Ends every session of the programs.
    async fn terminate(&self) -> Result<()> {
        let statement = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1";
        sqlx::query(statement).bind(ROLE).execute(&mut self.stage.admin().await?).await?;
        Ok(())
    }

    /// A statement about each of the two databases.
    async fn on_databases(&self, statement: &str) -> Result<()> {
        let mut admin = self.stage.admin().await?;
        for database in [self.shop.ordering.database(), self.shop.shipping.database()] {
            let options = database.connect_options();
            // a name of ours, without quotes in it
            let statement = statement.replace("{}", options.get_database().context("no database")?);
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
        }
        Ok(())
    }

    async fn retype(&self, to: &str) -> Result<()> {
        for (world, table) in [(&self.shop.ordering, "outbox_events"), (&self.shop.shipping, "inbox_events")]
        {
            self.alter(world, &format!("alter table {table} alter column event_type type {to}")).await?;
        }
        Ok(())
    }

    /// Changes a schema as soon as its locks can be had; a session of its own knows nothing of earlier faults.
    async fn alter(&self, world: &World, statement: &str) -> Result<()> {
        loop {
            let mut session = connect(world.database()).await?;
            sqlx::raw_sql(LOCKED).execute(&mut session).await?;
            match sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut session).await {
                Ok(_) => return Ok(()),
                Err(error) if is_lock_timeout(&error) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot {statement}")),
            }
        }
    }

    /// A topic with events, and a writer that goes on writing to it.
    async fn written_topic(&mut self) -> Result<(String, Box<Program>)> {
        let (topic, writer) = self.late_writer(100)?;
        self.shop.ordering.create_missing(&topic).await?;
        let done =
            format!("exists (select from outbox_events where topic = '{topic}' and status = 'completed')");
        self.shop.ordering.until(SETTLES, done).await;
        Ok((topic, writer))
    }

    /// A topic that is missing, and a writer to it.
    fn late_writer(&mut self, pause_ms: u64) -> Result<(String, Box<Program>)> {
        let topic = format!("late-{}", uuid::Uuid::new_v4().simple());
        let command = format!("--topic {topic} --key-prefix late- --pause-ms {pause_ms}");
        Ok((topic, Box::new(self.writer(&command)?)))
    }

    /// A writer of a few events.
    fn writer(&mut self, command: &str) -> Result<Program> {
        self.extras += 1;
        let name = format!("extra-{}", self.extras);
        self.shop.ordering.spawn(&name, &format!("writer --tasks 1 --transactions 15 {command}"))
    }

    /// Sends a message beside the outbox, and notes what should become of it.
    async fn send(&mut self, hostility: Hostility) -> Result<()> {
        let id = uuid::Uuid::new_v4();
        let act = match hostility {
            Hostility::Garbage => None,
            Hostility::Panic => Some("panic"),
            Hostility::Block => Some("block"),
            Hostility::RollBack => Some("roll_back"),
            Hostility::Fail => Some("fail"),
        };
        let value = act.map_or_else(|| "{ no JSON".to_owned(), |act| format!(r#"{{"act": "{act}"}}"#));
        let message = Message {
            key: Some(id.to_string().into_bytes()),
            value: Some(value.into_bytes()),
            headers: vec![("message_id".into(), Some(id.to_string().into_bytes()))],
            ..Message::default()
        };
        // what is on the topic and not in the journal would be a phantom
        let topic = self.shop.orders.clone();
        let intent = Intent { event_id: id, topic, partition_key: Some(id.to_string()) };
        journal::intend(&mut connect(self.shop.ordering.database()).await?, &[intent]).await?;
        let places = topic::produce(&self.stage.direct.brokers, &self.shop.orders, &[message]).await?;
        if act.is_some() {
            self.expected.parked.insert(id.to_string());
        } else if let [(partition, offset)] = places[..] {
            self.expected.quarantined.insert(format!("{}:{partition}:{offset}", self.shop.orders));
        }
        Ok(())
    }

    /// Waits until nothing is left to do.
    async fn catch_up(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let left = self.left().await?;
            if left.is_empty() {
                return Ok(());
            }
            self.cast.check_alive()?;
            ensure!(Instant::now() < deadline, "after {SETTLES:?} there are left: {}", left.join(", "));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What is not done yet.
    async fn left(&self) -> Result<Vec<String>> {
        let Shop { ordering, shipping, orders, group, .. } = &self.shop;
        let pending = "select count(*) from outbox_events where status = 'pending'";
        let of_group = |status: &str| {
            format!(
                "select count(*) from inbox_events where consumer_group = '{group}' and status = '{status}'"
            )
        };
        let missing = |wanted: i64, there: i64| (wanted - there).max(0);
        let expected = |ids: &BTreeSet<String>| i64::try_from(ids.len()).unwrap_or(i64::MAX);
        let (parked, in_quarantine) = (expected(&self.expected.parked), expected(&self.expected.quarantined));
        let ordered = format!("select count(*) from chaos_journal where topic = '{orders}'");
        let ordered = ordering.count(ordered).await? - parked - in_quarantine;
        let quarantined = shipping.count("select count(*) from inbox_quarantine").await?;
        let counts = [
            ("events of orders", ordering.count(pending).await?),
            ("orders without effect", missing(ordered, shipping.count(of_group("completed")).await?)),
            ("messages at work", shipping.count(of_group("pending")).await?),
            ("dead letters to come", missing(parked, shipping.count(of_group("failed")).await?)),
            ("quarantined to come", missing(in_quarantine, quarantined)),
            ("events of shipments", shipping.count(pending).await?),
        ];
        Ok(counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| format!("{count} {what}"))
            .collect())
    }
}

/// A transaction that stays open; without its lock there is none.
async fn hold(world: &World, statement: &'static str) -> Result<Undo> {
    let mut open = world.database().begin().await?;
    sqlx::raw_sql(LOCKED).execute(&mut *open).await?;
    match sqlx::raw_sql(statement).execute(&mut *open).await {
        Ok(_) => Ok(Undo::Transaction(open)),
        Err(error) if is_lock_timeout(&error) => Ok(Undo::Nothing),
        Err(error) => Err(error.into()),
    }
}

async fn connect(database: &PgPool) -> Result<PgConnection> {
    Ok(PgConnection::connect_with(&database.connect_options()).await?)
}

fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}
