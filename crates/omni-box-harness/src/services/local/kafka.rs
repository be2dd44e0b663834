//! A Kafka broker of one's own, to stop, kill and start again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::process::{Lifetime, Process, free_port, run};
use super::{END_WITHIN, READY_WITHIN, jars, stop_signal};
use crate::services::{Origin, Service, default_dir, ready};

/// A listener beside the one that every broker has; Kafka's settings call it `SECOND`.
#[derive(Clone, Debug)]
pub struct Listener<'a> {
    /// The port of 127.0.0.1 on which the broker listens.
    pub port: u16,
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: &'a str,
    /// Where clients are told to come, as to a proxy; `None`: to the port itself.
    pub advertised: Option<SocketAddr>,
    /// Further lines of the broker's settings.
    pub settings: &'a str,
}

impl<'a> Listener<'a> {
    /// A listener on a port that is free now.
    ///
    /// # Errors
    /// When there seems to be none.
    pub fn new(protocol: &'a str) -> Result<Self> {
        Ok(Self { port: free_port()?, protocol, advertised: None, settings: "" })
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }
}

/// A private broker (KRaft, one node); it ends when this is dropped.
pub struct KafkaServer {
    port: u16,
    log: PathBuf,
    data: PathBuf,
    properties: PathBuf,
    java: PathBuf,
    jars: PathBuf,
    process: Option<Process>,
}

impl KafkaServer {
    /// Makes a new broker in `dir`, starts it, and returns when it took a message.
    ///
    /// `dir` is created if absent and must hold no broker yet.
    ///
    /// # Errors
    /// When Kafka, Java or Maven are not to be had, or the broker does not start.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::launch(dir, Lifetime::Starter, None, |_, _| Ok(())).await
    }

    /// The same, with a second listener.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub async fn start_with(dir: &Path, listener: &Listener<'_>) -> Result<Self> {
        Self::launch(dir, Lifetime::Starter, Some(listener), |_, _| Ok(())).await
    }

    pub(super) async fn launch(
        dir: &Path,
        lifetime: Lifetime,
        second: Option<&Listener<'_>>,
        spawned: impl FnOnce(&str, &Origin) -> Result<()>,
    ) -> Result<Self> {
        let data = dir.join("data");
        std::fs::create_dir_all(&data)?;
        let data = data.canonicalize()?;
        let (java, jars) =
            tokio::task::spawn_blocking(|| anyhow::Ok((jars::java()?, jars::fetch(&default_dir())?)))
                .await??;
        let mut server = Self {
            port: free_port()?,
            log: dir.join("server.log"),
            properties: data.join("server.properties"),
            data,
            java,
            jars,
            process: None,
        };
        server.write_properties(second)?;
        let mut format = server.command("kafka.tools.StorageTool");
        format.args(["format", "--cluster-id", "b21uaS1ib3gtaGFybmVzcw"]);
        format.arg("--config").arg(&server.properties);
        tokio::task::spawn_blocking(move || run(&mut format))
            .await?
            .context("cannot format Kafka's storage")?;
        server.spawn(lifetime)?;
        spawned(&server.brokers(), &server.origin())?;
        server.wait_ready().await?;
        Ok(server)
    }

    /// Bootstrap servers.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The broker's process id; none while it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Ends the broker in order.
    ///
    /// # Errors
    /// When it survives even being killed.
    pub async fn stop(&mut self) -> Result<()> {
        self.end(stop_signal(Service::Kafka)).await
    }

    /// Kills the broker, as a crash would.
    ///
    /// # Errors
    /// When it survives.
    pub async fn kill(&mut self) -> Result<()> {
        self.end(Signal::SIGKILL).await
    }

    /// Starts the stopped or killed broker on the same port and data; returns when it took a message.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start_again(&mut self) -> Result<()> {
        anyhow::ensure!(self.process.is_none(), "the broker runs");
        self.spawn(Lifetime::Starter)?;
        self.wait_ready().await
    }

    /// Lets the broker live on; the caller has its record.
    pub(super) fn detach(mut self) -> (String, Origin) {
        let kept = (self.brokers(), self.origin());
        self.process = None;
        kept
    }

    fn origin(&self) -> Origin {
        Origin::Process { pid: self.pid().unwrap_or_default(), data: self.data.clone(), scratch: None }
    }

    fn write_properties(&self, second: Option<&Listener<'_>>) -> Result<()> {
        let mut text = format!("log.dirs={}\n", self.data.join("log").display());
        for (key, mut value) in kafka_settings("127.0.0.1", self.port, free_port()?) {
            if let Some(second) = second {
                let address = second.address();
                match key {
                    "listeners" => value.push_str(&format!(",SECOND://{address}")),
                    "advertised.listeners" => {
                        value.push_str(&format!(",SECOND://{}", second.advertised.unwrap_or(address)));
                    }
                    "listener.security.protocol.map" => {
                        value.push_str(&format!(",SECOND:{}", second.protocol))
                    }
                    _ => {}
                }
            }
            text.push_str(&format!("{key}={value}\n"));
        }
        text.push_str(second.map_or("", |second| second.settings));
        std::fs::write(&self.properties, text).context("cannot write Kafka's settings")
    }

    fn command(&self, class: &str) -> Command {
        let mut command = Command::new(&self.java);
        command.args(["-Xms256m", "-Xmx512m", "-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp"]);
        command.arg(self.jars.join("*")).arg(class);
        command
    }

    fn spawn(&mut self, lifetime: Lifetime) -> Result<()> {
        let mut command = self.command("kafka.Kafka");
        command.arg(&self.properties);
        self.process = Some(Process::spawn(command, &self.log, lifetime)?);
        Ok(())
    }

    async fn wait_ready(&mut self) -> Result<()> {
        let brokers = self.brokers();
        let Some(process) = &mut self.process else { anyhow::bail!("the broker is stopped") };
        ready::answers_while(Service::Kafka, &brokers, READY_WITHIN, || process.check_alive()).await
    }

    async fn end(&mut self, signal: Signal) -> Result<()> {
        match self.process.take() {
            Some(process) => tokio::task::spawn_blocking(move || process.end(signal, END_WITHIN)).await?,
            None => Ok(()),
        }
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        if let Some(process) = self.process.take()
            && let Err(error) = process.end(Signal::SIGKILL, END_WITHIN)
        {
            eprintln!("kafka: {error:#}");
        }
    }
}

/// Settings of a broker that is alone, listens on `bind` and is reached by 127.0.0.1.
pub(crate) fn kafka_settings(bind: &str, port: u16, controller: u16) -> Vec<(&'static str, String)> {
    let listeners = |host: &str| format!("PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller}");
    let fixed = [
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("auto.create.topics.enable", "false"),
        ("log.retention.ms", "-1"),
        // A compaction that a test waits for should come in a second, not in fifteen.
        ("log.cleaner.backoff.ms", "500"),
        ("log.cleaner.dedupe.buffer.size", "16777216"),
        ("min.insync.replicas", "1"),
        ("default.replication.factor", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("transaction.state.log.num.partitions", "4"),
        ("share.coordinator.state.topic.replication.factor", "1"),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "1000"),
    ];
    let mut settings: Vec<(&str, String)> =
        fixed.into_iter().map(|(key, value)| (key, value.to_owned())).collect();
    settings.push(("listeners", listeners(bind)));
    settings.push(("advertised.listeners", listeners("127.0.0.1")));
    // named here and not when the storage is formatted, which the image does by itself and without saying so
    settings.push(("controller.quorum.voters", format!("1@127.0.0.1:{controller}")));
    settings
}
