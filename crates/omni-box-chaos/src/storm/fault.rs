//! The faults that a storm may have.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What is done to a service, and undone when its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// `kill -9` of a program, which is started again.
    Kill(usize),
    /// SIGSTOP of a program, then SIGCONT.
    Freeze(usize),
    /// SIGTERM of a program, which must end in order and is started again.
    Restart(usize),
    /// Every program is stopped in order and started again, one after the other.
    RollingRestart,
    /// A server ends in order and comes back.
    Stop(Server),
    /// A server crashes and comes back.
    Crash(Server),
    /// SIGSTOP of a server with all of its processes, then SIGCONT.
    Hang(Server),
    /// All connections to a server are closed.
    Cut(Server),
    /// Open connections to a server fall silent and never speak again; new ones work.
    Vanish(Server),
    /// A server falls silent, new connections too; later all go on.
    Silence(Server),
    /// A server refuses new connections.
    Refuse(Server),
    /// Every packet to a server and back takes longer.
    Slow(Server),
    /// `lock table .. in access exclusive mode` of a table of the shipping service.
    LockTable(Table),
    /// A row of the lanes is locked, as by an operator's `for update`.
    LockLane,
    /// `pg_terminate_backend` of every connection of the programs.
    Terminate,
    /// The databases are read-only for new sessions, and the old ones end; what stays behind when writing is allowed again ends by itself.
    ReadOnly,
    /// A column's type changes under prepared statements.
    Ddl,
    /// A transaction with a snapshot stays open.
    OldSnapshot,
    /// The programs' role may have few connections, and its old ones end.
    Crowd,
    /// The programs' role has a `statement_timeout` of 500 ms.
    ShortStatements,
    /// A trigger refuses every new row of the inbox, with a code that no list of outages names.
    Guard,
    /// A topic is written to before it exists.
    MissingTopic,
    /// A topic is deleted while it is written to, and created again.
    DeletedTopic,
    /// A topic gets more partitions while it is written to.
    MorePartitions,
    /// The topic of orders refuses each message: it asks for more replicas than there are.
    FewReplicas,
    /// A writer's clock is a minute off.
    SkewedClock,
    /// A message that no handler can stand.
    Hostile(Hostility),
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// Kafka.
    Kafka,
}

/// A table that is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `outbox_events`
    Outbox,
    /// `inbox_events`
    Inbox,
    /// `outbox_lanes`
    Lanes,
}

impl Table {
    /// Its statement.
    pub(super) fn lock(self) -> &'static str {
        match self {
            Self::Outbox => "lock table outbox_events in access exclusive mode",
            Self::Inbox => "lock table inbox_events in access exclusive mode",
            Self::Lanes => "lock table outbox_lanes in access exclusive mode",
        }
    }
}

/// What a hostile message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hostility {
    /// It cannot be decoded.
    Garbage,
    /// Its handler panics.
    Panic,
    /// Its handler blocks its thread for longer than it may take.
    Block,
    /// Its handler ends the transaction that it shares with others.
    RollBack,
    /// Its handler fails each time.
    Fail,
}

/// What a fault is done to; two faults at once have two targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Program(usize),
    Postgres,
    Kafka,
    Everything,
}

impl From<Server> for Target {
    fn from(server: Server) -> Self {
        match server {
            Server::Postgres => Self::Postgres,
            Server::Kafka => Self::Kafka,
        }
    }
}

impl Target {
    pub(super) fn meets(self, other: Self) -> bool {
        self == other || self == Self::Everything || other == Self::Everything
    }
}

impl Fault {
    /// What it is done to.
    pub(super) fn target(&self) -> Target {
        match *self {
            Self::Kill(program) | Self::Freeze(program) | Self::Restart(program) => Target::Program(program),
            Self::RollingRestart => Target::Everything,
            Self::Stop(server)
            | Self::Crash(server)
            | Self::Hang(server)
            | Self::Cut(server)
            | Self::Vanish(server)
            | Self::Silence(server)
            | Self::Refuse(server)
            | Self::Slow(server) => server.into(),
            Self::LockTable(_)
            | Self::LockLane
            | Self::Terminate
            | Self::ReadOnly
            | Self::Ddl
            | Self::OldSnapshot
            | Self::Crowd
            | Self::ShortStatements
            | Self::Guard
            | Self::SkewedClock => Target::Postgres,
            Self::MissingTopic
            | Self::DeletedTopic
            | Self::MorePartitions
            | Self::FewReplicas
            | Self::Hostile(_) => Target::Kafka,
        }
    }

    /// Whether a server answers the storm itself no more while it lasts.
    pub(super) fn takes_a_server_away(&self) -> bool {
        matches!(self, Self::Stop(_) | Self::Crash(_) | Self::Hang(_))
    }

    /// A fault by chance.
    pub(super) fn draw(random: &mut fastrand::Rng, programs: usize) -> Self {
        let server = |random: &mut fastrand::Rng| pick(random, &[Server::Postgres, Server::Kafka]);
        match random.u8(..26) {
            0..=2 => Self::Kill(random.usize(..programs)),
            3 | 4 => Self::Freeze(random.usize(..programs)),
            5 => Self::Restart(random.usize(..programs)),
            6 if random.u8(..4) == 0 => Self::RollingRestart,
            6 | 7 => Self::Cut(server(random)),
            8 => Self::Stop(server(random)),
            9 => Self::Crash(server(random)),
            10 => Self::Vanish(server(random)),
            11 => Self::Silence(server(random)),
            12 => Self::Refuse(server(random)),
            13 => Self::Slow(server(random)),
            14 => Self::LockTable(pick(random, &[Table::Outbox, Table::Inbox, Table::Lanes])),
            15 => pick(random, &[Self::LockLane, Self::OldSnapshot]),
            16 => Self::Terminate,
            17 => Self::ReadOnly,
            18 => Self::Ddl,
            19 => Self::Crowd,
            20 => Self::ShortStatements,
            21 => Self::Guard,
            22 => pick(
                random,
                &[Self::MissingTopic, Self::DeletedTopic, Self::MorePartitions, Self::SkewedClock],
            ),
            23 => Self::FewReplicas,
            24 => Self::Hang(server(random)),
            _ => Self::Hostile(pick(
                random,
                &[
                    Hostility::Garbage,
                    Hostility::Panic,
                    Hostility::Block,
                    Hostility::RollBack,
                    Hostility::Fail,
                ],
            )),
        }
    }
}

fn pick<T: Clone>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())].clone()
}

impl fmt::Display for Fault {
    /// As in a plan's file, without quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text.replace(['{', '}', '"'], "").replace(':', " "))
    }
}
