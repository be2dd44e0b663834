//! The programs of a storm.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use omni_box_harness::usage::{rss_mib, seconds_of};

use crate::shop::Shop;
use crate::world::{Program, World};

/// How many programs there are.
pub(super) const PROGRAMS: usize = 9;
/// How much memory a program may use at most, in MiB.
const MOST_MIB: f64 = 300.0;
/// How long programs are watched while they have nothing to do.
const WATCHED: Duration = Duration::from_secs(3);
/// How long a program may take to end in order, a server that is away included.
const ENDS: Duration = Duration::from_secs(60);

/// Programs, each of which can be ended and started again.
pub(super) struct Cast {
    members: Vec<Member>,
}

struct Member {
    name: String,
    command: String,
    of: Service,
    program: Program,
}

#[derive(Clone, Copy)]
enum Service {
    Ordering,
    Shipping,
}

impl Service {
    fn world(self, shop: &Shop) -> &World {
        match self {
            Self::Ordering => &shop.ordering,
            Self::Shipping => &shop.shipping,
        }
    }
}

impl Cast {
    /// Three relays and two writers of orders, three consumers of them, and a relay of what the consumers add.
    pub(super) async fn start(shop: &Shop) -> Result<Self> {
        let relay = "relay --lease-ttl-ms 2000".to_owned();
        let writer = format!(
            "writer --topic {} --tasks 2 --pause-ms 60 --max-events 4 --rollback-percent 5 --late-percent 5 --late-ms 500",
            shop.orders
        );
        let consumer = format!(
            "{} --handler-timeout-ms 3000 --retry-cap-ms 2000",
            shop.consumer_of(&shop.group, &shop.shipments)
        );
        let mut all = vec![("shipper", relay.clone(), Service::Shipping)];
        for name in ["relay-0", "relay-1", "relay-2"] {
            all.push((name, relay.clone(), Service::Ordering));
        }
        for name in ["consumer-0", "consumer-1", "consumer-2"] {
            all.push((name, consumer.clone(), Service::Shipping));
        }
        for name in ["writer-0", "writer-1"] {
            all.push((name, writer.clone(), Service::Ordering));
        }
        ensure!(all.len() == PROGRAMS, "there are {} programs", all.len());
        let started = all.into_iter().map(async |(name, command, of)| {
            let program = of.world(shop).start(name, &command).await?;
            anyhow::Ok(Member { name: name.to_owned(), command, of, program })
        });
        Ok(Self { members: try_join_all(started).await? })
    }

    pub(super) async fn kill(&mut self, number: usize) -> Result<()> {
        self.members[number].program.kill().await
    }

    pub(super) fn freeze(&self, number: usize) -> Result<()> {
        self.members[number].program.freeze()
    }

    pub(super) fn thaw(&self, number: usize) -> Result<()> {
        self.members[number].program.thaw()
    }

    pub(super) fn ask_to_stop(&self, number: usize) -> Result<()> {
        self.members[number].program.ask_to_stop()
    }

    /// Waits until a program that was asked to has ended in order.
    pub(super) async fn ended(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        member.program.finish(ENDS).await.with_context(|| format!("{} does not end in order", member.name))
    }

    /// Starts a program that has ended.
    pub(super) async fn start_again(&mut self, number: usize, shop: &Shop) -> Result<()> {
        let member = &mut self.members[number];
        member.program = member.of.world(shop).start(&member.name, &member.command).await?;
        Ok(())
    }

    pub(super) async fn restart(&mut self, number: usize, shop: &Shop) -> Result<()> {
        self.ask_to_stop(number)?;
        self.ended(number).await?;
        self.start_again(number, shop).await
    }

    /// # Errors
    /// When a program has ended by itself.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        for member in &mut self.members {
            ensure!(member.program.is_running()?, "{} has ended by itself", member.name);
        }
        Ok(())
    }

    /// Ends the writers in order.
    pub(super) async fn end_writers(&mut self) -> Result<()> {
        self.end(|member| member.name.starts_with("writer")).await
    }

    /// Ends what runs in order.
    pub(super) async fn end_all(&mut self) -> Result<()> {
        self.end(|_| true).await
    }

    async fn end(&mut self, which: impl Fn(&Member) -> bool) -> Result<()> {
        let (mut ending, left) = std::mem::take(&mut self.members).into_iter().partition(which);
        self.members = left;
        for member in &ending {
            member.program.ask_to_stop().with_context(|| format!("{} has ended by itself", member.name))?;
        }
        for Member { name, program, .. } in &mut ending {
            program.finish(ENDS).await.with_context(|| format!("{name} does not end in order"))?;
        }
        Ok(())
    }

    /// # Errors
    /// When a program without work takes half of a core, or has used too much memory.
    pub(super) async fn check_idle(&self) -> Result<()> {
        let before = self.used()?;
        tokio::time::sleep(WATCHED).await;
        for ((member, before), after) in self.members.iter().zip(before).zip(self.used()?) {
            let core = (after - before) / WATCHED.as_secs_f64();
            ensure!(core < 0.5, "{} has nothing to do and takes {core:.2} of a core", member.name);
            let mib = rss_mib(member.program.pid()).context("the system does not tell a program's memory")?;
            ensure!(mib < MOST_MIB, "{} has used {mib:.0} MiB", member.name);
        }
        Ok(())
    }

    /// Seconds that each program has been on a core.
    fn used(&self) -> Result<Vec<f64>> {
        let seconds = self.members.iter().map(|member| seconds_of(member.program.pid()));
        seconds.collect::<Option<_>>().context("the system does not tell a program's time")
    }
}
