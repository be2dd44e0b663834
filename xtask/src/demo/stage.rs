//! Databases, topics and processes of one run, and what happens to them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use omni_box_harness::services::{Services, default_dir};
use omni_box_harness::{TestDatabase, topic};
use sqlx::PgPool;
use uuid::Uuid;

use super::check::{Evidence, Outcome, Topics, judge};
use super::load::Load;
use super::program::Program;
use super::progress::{Counts, Progress};

const PARTITIONS: i32 = 6;
const LOOK_EVERY: Duration = Duration::from_millis(100);
const SHARED_WITHIN: Duration = Duration::from_secs(20);
/// How soon the others take over from a relay that was killed.
const LEASE_SECONDS: u64 = 2;
/// The same of a consumer; brokers allow no less unless told to.
const SESSION_SECONDS: u64 = 6;
/// How long a killed process stays away after the others could take over.
const AWAY: Duration = Duration::from_secs(1);

/// Set up for one run.
pub(super) struct Stage {
    orders: TestDatabase,
    shipping: TestDatabase,
    topics: Topics,
    logs: PathBuf,
    service: Program,
    workers: Vec<Program>,
}

/// What happened.
pub(super) struct Played {
    accepted: Vec<Uuid>,
    seconds: f64,
    /// Why it was given up, if it was.
    pub(super) given_up: Option<String>,
}

/// A worker that is killed once so many orders are there, and started again.
struct Kill {
    worker: usize,
    once: fn(&Counts) -> u64,
    away: Duration,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Due,
    Killed(Instant),
    Over,
}

impl Stage {
    /// Creates what the programs need; starts none.
    pub(super) async fn set(services: &Services) -> Result<Self> {
        let brokers = services.kafka_brokers.clone();
        let orders = TestDatabase::create_on(&services.database_url).await?;
        let shipping = TestDatabase::create_on(&services.database_url).await?;
        let topics = Topics {
            orders: topic::create_topic(&brokers, "orders", PARTITIONS, &[]).await?,
            shipments: topic::create_topic(&brokers, "shipments", PARTITIONS, &[]).await?,
            brokers,
        };
        let logs = default_dir().with_file_name("demo").join(&topics.orders);
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;

        let (orders_url, shipping_url) = (orders.url(), shipping.url());
        let (lease, session) = (LEASE_SECONDS.to_string(), SESSION_SECONDS.to_string());
        let service = Program::new(
            "order-service",
            "order-service",
            &["--database-url", &orders_url, "--listen", "127.0.0.1:0", "--topic", &topics.orders],
            &logs,
        )?;
        let relay = |name| {
            let brokers = format!("kafka.brokers={}", topics.brokers);
            let worker = format!("outbox_processor.worker_id={name}");
            let lease = format!("outbox_processor.lease_ttl={lease}s");
            let settings = ["--set", &brokers, "--set", &worker, "--set", &lease];
            let of_relay = [&["--database-url", orders_url.as_str()], settings.as_slice()].concat();
            Program::new(name, "order-relay", &of_relay, &logs)
        };
        let shipping_service = |name| {
            let of_service = ["--database-url", &shipping_url, "--brokers", &topics.brokers];
            let from_to = ["--orders-topic", &topics.orders, "--topic", &topics.shipments];
            // topics are this run's own; the group must be too, or it would share with other runs
            let own = ["--group", &topics.shipments, "--worker-id", name];
            let times = ["--lease-seconds", &lease, "--session-seconds", &session];
            Program::new(name, "shipping-service", &[&of_service[..], &from_to, &own, &times].concat(), &logs)
        };
        let workers = vec![
            relay("order-relay-1")?,
            relay("order-relay-2")?,
            shipping_service("shipping-service-1")?,
            shipping_service("shipping-service-2")?,
        ];
        Ok(Self { orders, shipping, topics, logs, service, workers })
    }

    /// Starts the programs, places the orders, kills and restarts, and waits until everything is shipped.
    ///
    /// # Errors
    /// When a program ends that was not killed, or an order is refused.
    pub(super) async fn play(&mut self, events: u64, patience: Duration) -> Result<Played> {
        eprintln!("starting order-service, two order-relay, two shipping-service");
        let address = self.service.start("listening on").await?;
        for worker in &mut self.workers {
            worker.start(ready_line(&worker.name)).await?;
        }
        self.wait_until_shared().await?;

        let mut kills = [
            Kill {
                worker: 0,
                once: |counts| counts.orders,
                away: Duration::from_secs(LEASE_SECONDS) + AWAY,
                state: State::Due,
            },
            Kill {
                worker: 2,
                once: |counts| counts.shipped,
                away: Duration::from_secs(SESSION_SECONDS) + AWAY,
                state: State::Due,
            },
        ];
        let mut progress = Progress::start(events)?;
        let begun = Instant::now();
        let mut load = Load::start(&address, events)?;
        // the last third waits for those that come back, so that they have work
        let last = events / 3;
        load.allow(events - last);
        let mut held_back = last;
        let (mut before, mut moved) = (Counts::default(), Instant::now());

        loop {
            let counts = Counts::read(self.orders.pool(), self.shipping.pool()).await?;
            progress.show(counts);
            self.service.check_alive().await?;
            for worker in &mut self.workers {
                worker.check_alive().await?;
            }
            for kill in &mut kills {
                let worker = &mut self.workers[kill.worker];
                match kill.state {
                    State::Due if (kill.once)(&counts) >= events / 3 => {
                        worker.kill().await?;
                        progress.tell(&format!("{}: kill -9", worker.name));
                        kill.state = State::Killed(Instant::now());
                    }
                    State::Killed(at) if at.elapsed() >= kill.away => {
                        worker.start(ready_line(&worker.name)).await?;
                        progress.tell(&format!("{}: started again", worker.name));
                        kill.state = State::Over;
                    }
                    _ => {}
                }
            }
            let are_over = kills.iter().all(|kill| kill.state == State::Over);
            if are_over {
                load.allow(std::mem::take(&mut held_back));
            }
            let is_shipped = counts.shipped >= events && counts.waiting == 0;
            if load.is_done()? && are_over && is_shipped {
                let seconds = begun.elapsed().as_secs_f64();
                return Ok(Played { accepted: load.end().await, seconds, given_up: None });
            }
            if before != counts {
                (before, moved) = (counts, Instant::now());
            }
            if moved.elapsed() > patience {
                let seconds = begun.elapsed().as_secs_f64();
                let given_up = Some(self.what_is_open(events, counts, patience));
                return Ok(Played { accepted: load.end().await, seconds, given_up });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills that hit a process without work would show nothing.
    async fn wait_until_shared(&self) -> Result<()> {
        let deadline = Instant::now() + SHARED_WITHIN;
        let is_shared = async |pool: &PgPool, sql: &'static str| -> Result<bool> {
            Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(pool).await? >= 2)
        };
        loop {
            let relays = "select count(distinct owner) from outbox_lanes where leased_until > now()";
            let consumers = "select count(distinct worker) from inbox_partitions where not clean";
            if is_shared(self.orders.pool(), relays).await?
                && is_shared(self.shipping.pool(), consumers).await?
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                let tails: Vec<String> = self.workers.iter().map(Program::tail).collect();
                bail!("the processes did not share the work within {SHARED_WITHIN:?}\n{}", tails.join("\n"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn what_is_open(&self, events: u64, counts: Counts, patience: Duration) -> String {
        let Counts { orders, published, shipped, waiting } = counts;
        let mut text = format!(
            "nothing moved for {patience:?}: of {events} orders {orders} are placed, {published} published, \
             {shipped} shipped; {waiting} events wait"
        );
        for program in [&self.service].into_iter().chain(&self.workers) {
            text.push('\n');
            text.push_str(&program.tail());
        }
        text
    }

    /// Ends the programs that run.
    ///
    /// # Errors
    /// When one does not end well; all are ended nevertheless.
    pub(super) async fn end(&mut self) -> Result<()> {
        let mut outcome = self.service.end().await;
        for worker in &mut self.workers {
            outcome = outcome.and(worker.end().await);
        }
        outcome
    }

    /// Reads databases and topics and judges them.
    pub(super) async fn judge(&self, played: &Played) -> Result<Outcome> {
        let (orders, shipping) = (self.orders.pool(), self.shipping.pool());
        let evidence = Evidence::gather(played.accepted.clone(), orders, shipping, &self.topics).await?;
        Ok(judge(&evidence, played.seconds))
    }

    /// Drops the databases, and the logs if all went well, unless they are kept.
    #[expect(clippy::mem_forget, reason = "what is dropped drops its database")]
    pub(super) async fn clear(self, keep: bool, is_good: bool) -> Result<()> {
        let Self { orders, shipping, logs, .. } = self;
        if keep {
            eprintln!("orders: {}\nshipping: {}\nlogs: {}", orders.url(), shipping.url(), logs.display());
            std::mem::forget((orders, shipping));
            return Ok(());
        }
        orders.close().await?;
        shipping.close().await?;
        if is_good {
            std::fs::remove_dir_all(&logs).with_context(|| format!("cannot remove {}", logs.display()))?;
        } else {
            eprintln!("logs: {}", logs.display());
        }
        Ok(())
    }
}

fn ready_line(name: &str) -> &'static str {
    if name.starts_with("order-relay") { "relaying" } else { "shipping" }
}
