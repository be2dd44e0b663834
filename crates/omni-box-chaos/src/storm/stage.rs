//! Servers of a storm's own, behind proxies.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use omni_box_harness::process;
use omni_box_harness::services::local::{KafkaServer, Listener, PostgresServer};
use omni_box_testkit::TcpProxy;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::fault::Server;
use crate::world::Addresses;

/// The role that programs log in as; limits are set on it, which a superuser would not feel.
pub(super) const ROLE: &str = "service";

/// PostgreSQL and Kafka, to stop, kill and start again, and a proxy before each.
pub(super) struct Stage {
    postgres: PostgresServer,
    kafka: KafkaServer,
    to_postgres: TcpProxy,
    to_kafka: TcpProxy,
    /// By which the judge reaches them.
    pub(super) direct: Addresses,
    /// By which programs do.
    pub(super) proxied: Addresses,
}

impl Stage {
    /// Starts the servers.
    pub(super) async fn set(dir: &Path) -> Result<Self> {
        let mut listener = Listener::new("PLAINTEXT")?;
        let to_kafka = TcpProxy::start(listener.address().to_string()).await?;
        listener.advertised = Some(to_kafka.address());
        let (postgres_dir, kafka_dir) = (dir.join("postgres"), dir.join("kafka"));
        let (postgres, kafka) = tokio::try_join!(
            PostgresServer::start(&postgres_dir),
            KafkaServer::start_with(&kafka_dir, &listener)
        )?;
        let options: PgConnectOptions = postgres.url().parse()?;
        let to_postgres = TcpProxy::start(format!("{}:{}", options.get_host(), options.get_port())).await?;
        let by_proxy = options
            .host(&to_postgres.address().ip().to_string())
            .port(to_postgres.address().port())
            .username(ROLE);
        let stage = Self {
            direct: Addresses { database_url: postgres.url(), brokers: kafka.brokers() },
            proxied: Addresses {
                database_url: by_proxy.to_url_lossy().to_string(),
                brokers: to_kafka.address().to_string(),
            },
            postgres,
            kafka,
            to_postgres,
            to_kafka,
        };
        sqlx::raw_sql("create role service login").execute(&mut stage.admin().await?).await?;
        Ok(stage)
    }

    /// A connection for what only a superuser may do, to no database of a service.
    pub(super) async fn admin(&self) -> Result<PgConnection> {
        PgConnection::connect(&self.direct.database_url).await.context("cannot log in to PostgreSQL")
    }

    /// The network before a server.
    pub(super) fn network(&self, server: Server) -> &TcpProxy {
        match server {
            Server::Postgres => &self.to_postgres,
            Server::Kafka => &self.to_kafka,
        }
    }

    pub(super) async fn stop(&mut self, server: Server) -> Result<()> {
        match server {
            Server::Postgres => self.postgres.stop().await,
            Server::Kafka => self.kafka.stop().await,
        }
    }

    pub(super) async fn crash(&mut self, server: Server) -> Result<()> {
        match server {
            Server::Postgres => self.postgres.kill().await,
            Server::Kafka => self.kafka.kill().await,
        }
    }

    /// Stops a server's processes in the middle of whatever they do.
    pub(super) fn freeze(&self, server: Server) -> Result<()> {
        process::freeze(self.pid(server).context("the server does not run")?)
    }

    pub(super) fn thaw(&self, server: Server) -> Result<()> {
        self.pid(server).map_or(Ok(()), process::thaw)
    }

    fn pid(&self, server: Server) -> Option<u32> {
        match server {
            Server::Postgres => self.postgres.pid(),
            Server::Kafka => self.kafka.pid(),
        }
    }

    /// Starts a server if it does not run.
    pub(super) async fn start(&mut self, server: Server) -> Result<()> {
        match server {
            Server::Postgres if self.postgres.pid().is_none() => self.postgres.start_again().await,
            Server::Kafka if self.kafka.pid().is_none() => self.kafka.start_again().await,
            _ => Ok(()),
        }
    }

    /// Both servers run and are reached; connections that a fault left silent are closed.
    pub(super) async fn restore(&mut self) -> Result<()> {
        for server in [Server::Postgres, Server::Kafka] {
            self.thaw(server)?;
            self.start(server).await?;
            let network = self.network(server);
            network.cut();
            network.thaw();
            network.pass_new();
            network.delay(Duration::ZERO);
        }
        let limits = "alter role service connection limit -1; alter role service reset statement_timeout";
        sqlx::raw_sql(limits).execute(&mut self.admin().await?).await?;
        Ok(())
    }
}
