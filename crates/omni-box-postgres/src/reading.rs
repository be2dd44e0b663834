//! What the owner of lanes reads.
//!
//! Where the payloads are known to be small, one plain statement reads the events that have no time of their own. It tells whether others
//! are due: heads of held keys, and events scheduled for later. Another statement reads those, which leaves most of each lane's limit to
//! the first. Where payloads may not fit, it reads both kinds, and sums their bytes up at the server.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::TryStreamExt;
use omni_box_core::{Event, EventId, LaneEvent, LaneFetch, LaneId, LaneRead, Result};
use omni_box_sql::{Columns, lane_event};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use tokio::time::Instant;

use crate::horizon::Writers;
use crate::outbox::lane_number;
use crate::row::Reader;
use crate::row::uuids;
use crate::store::Session;
use crate::{PgStore, Table};

/// An event, and whether it had waited and was released.
struct Found {
    event: LaneEvent,
    is_released: bool,
}

impl Found {
    fn read(row: &PgRow) -> sqlx::Result<Self> {
        let mut columns = Reader::new(row);
        Ok(Self { event: lane_event(&mut columns)?, is_released: columns.boolean()? })
    }

    fn bytes(&self) -> u64 {
        self.event.event.payload().as_str().len() as u64
    }
}

/// What a fetch leaves out.
#[derive(Clone, Copy)]
pub(crate) struct Except<'a> {
    pub(crate) in_flight: &'a [EventId],
    /// Topics whose heads are left out.
    pub(crate) resting: &'a [String],
}

/// What one statement found.
#[derive(Default)]
struct Part {
    found: Vec<Found>,
    bytes: u64,
    /// Not all that is due below the limits: there were too many bytes.
    is_cut: bool,
}

/// Both kinds of events, and for how long nothing else becomes due by itself.
type Read = (Part, Vec<Found>, Option<Duration>);

/// The part of a limit that is left to what has a time of its own, while there is enough of the others.
fn share(limit: u32) -> u32 {
    (limit / 4).max(1)
}

impl PgStore {
    pub(crate) async fn read_lanes(
        &self,
        lanes: &[LaneRead],
        except: Except<'_>,
        max_bytes: u64,
    ) -> Result<LaneFetch> {
        // before any snapshot of this fetch
        let proven = self.horizon.proven();
        let max_bytes = max_bytes.max(1);
        let most: u64 = lanes.iter().map(|read| u64::from(read.limit)).sum();
        let small = match self.sizes.fit(most, max_bytes) {
            true => self.read_small(lanes, except, max_bytes).await?,
            false => None,
        };
        let (part, timed, quiet_for) = match small {
            Some(parts) => parts,
            None => self.read_large(lanes, except, max_bytes).await?,
        };
        self.sizes.note(part.found.len() as u64, part.bytes);
        Ok(LaneFetch { quiet_for, ..merged(lanes, part, timed, proven) })
    }

    /// For how long nothing becomes due that no writer wakes for, by when the next event is due that has a time of its own. A look has shown
    /// that each writer knows that it has to wake the relay, and this process hears them.
    fn quiet_for(&self, lanes: &[LaneRead], is_empty: bool, timed_in: Option<Duration>) -> Option<Duration> {
        let is_heard = self.listener.hears() && self.horizon.is_quiet(lanes);
        let timed_in = timed_in.unwrap_or(Duration::from_secs(3_600));
        Some(timed_in).filter(|timed_in| is_empty && is_heard && !timed_in.is_zero())
    }

    /// Reads both kinds where payloads are small. `None`: they are not.
    async fn read_small(
        &self,
        lanes: &[LaneRead],
        except: Except<'_>,
        max_bytes: u64,
    ) -> Result<Option<Read>> {
        let mut session = self.session().await?;
        let Some((part, timed_in)) = self.read_plain(&mut session, lanes, except, max_bytes).await? else {
            session.close();
            return Ok(None);
        };
        let mut timed = Vec::new();
        if timed_in.is_some_and(|timed_in| timed_in.is_zero()) {
            let counts = counts(&part.found);
            let left = |read: &LaneRead| {
                let count = counts.get(&read.lane).copied().unwrap_or(0);
                read.limit.saturating_sub(count).max(share(read.limit))
            };
            let limits: Vec<(u32, u32)> = lanes.iter().map(|read| (0, left(read))).collect();
            let bytes = max_bytes.saturating_sub(part.bytes);
            timed = self.read_sized(&mut session, lanes, &limits, except, bytes).await?.found;
        }
        self.end(session, &part).await?;
        let quiet_for = self.quiet_for(lanes, part.found.is_empty() && timed.is_empty(), timed_in);
        Ok(Some((part, timed, quiet_for)))
    }

    /// Reads both kinds where payloads may be large. What has a time of its own gets a part of the limits and of the bytes, the others
    /// the rest.
    async fn read_large(&self, lanes: &[LaneRead], except: Except<'_>, max_bytes: u64) -> Result<Read> {
        let mut session = self.session().await?;
        let limits: Vec<(u32, u32)> = lanes.iter().map(|read| (0, share(read.limit))).collect();
        let timed = self.read_sized(&mut session, lanes, &limits, except, max_bytes.div_ceil(4)).await?;
        let limits: Vec<(u32, u32)> = lanes.iter().map(|read| (read.limit, 0)).collect();
        let part = match max_bytes.saturating_sub(timed.bytes) {
            0 => Part { is_cut: true, ..Part::default() },
            bytes => self.read_sized(&mut session, lanes, &limits, except, bytes).await?,
        };
        self.end(session, &part).await?;
        Ok((part, timed.found, None))
    }

    /// Notes what was seen, and looks what may still appear below it.
    async fn end(&self, mut session: Session, part: &Part) -> Result<()> {
        if let Some(last) = part.found.iter().map(|found| found.event.seq).max() {
            self.horizon.saw(last);
        }
        self.look_for_writers(&mut session).await?;
        session.finish().await
    }

    /// Looks who writes to the table, if that may prove something.
    async fn look_for_writers(&self, conn: &mut PgConnection) -> Result<()> {
        let Some(look) = self.horizon.begin(Instant::now()) else { return Ok(()) };
        let found: Writers = sqlx::query_as(self.queries.lanes_writers.sql())
            .bind(self.config.qualified(Table::OutboxEvents))
            .fetch_one(conn)
            .await
            .map_err(self.failed("look who writes events"))?;
        look.end(found);
        Ok(())
    }

    /// Reads what has no time of its own, and tells how soon something with one is due. `None`: there were too many bytes, and the answer was
    /// not read to its end.
    async fn read_plain(
        &self,
        conn: &mut PgConnection,
        lanes: &[LaneRead],
        except: Except<'_>,
        max_bytes: u64,
    ) -> Result<Option<(Part, Option<Duration>)>> {
        const DOING: &str = "fetch events of lanes";
        let (mut part, mut timed_in) = (Part::default(), None::<i64>);
        let mut rows = sqlx::query(self.queries.lanes_fetch.sql())
            .bind(lanes.iter().map(|read| lane_number(read.lane)).collect::<Vec<_>>())
            .bind(lanes.iter().map(|read| number(read.limit)).collect::<Vec<_>>())
            .bind(uuids(except.in_flight))
            .bind(lanes.iter().map(|read| read.above).collect::<Vec<_>>())
            .fetch(conn);
        while let Some(row) = rows.try_next().await.map_err(self.failed(DOING))? {
            let of_lane: Option<i64> = row.try_get(row.len() - 1).map_err(self.failed(DOING))?;
            timed_in = timed_in.into_iter().chain(of_lane).min();
            // a lane without events has a row too
            if row.try_get::<Option<uuid::Uuid>, _>(0).map_err(self.failed(DOING))?.is_none() {
                continue;
            }
            let found = Found::read(&row).map_err(self.failed("read events of lanes"))?;
            part.bytes += found.bytes();
            part.found.push(found);
            if part.bytes >= max_bytes {
                self.sizes.note(part.found.len() as u64, part.bytes.max(max_bytes));
                return Ok(None);
            }
        }
        let timed_in = timed_in.map(|micros| Duration::from_micros(micros.max(0).cast_unsigned()));
        Ok(Some((part, timed_in)))
    }

    /// Reads so many of each kind, and no more bytes than fit. `limits` are those of the lanes, the second for what has a time of its own.
    async fn read_sized(
        &self,
        conn: &mut PgConnection,
        lanes: &[LaneRead],
        limits: &[(u32, u32)],
        except: Except<'_>,
        max_bytes: u64,
    ) -> Result<Part> {
        let rows = sqlx::query(self.queries.lanes_fetch_sized.sql())
            .bind(lanes.iter().map(|read| lane_number(read.lane)).collect::<Vec<_>>())
            .bind(limits.iter().map(|(most, _)| number(*most)).collect::<Vec<_>>())
            .bind(uuids(except.in_flight))
            .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX).max(1))
            .bind(lanes.iter().map(|read| read.above).collect::<Vec<_>>())
            .bind(limits.iter().map(|(_, timed)| number(*timed)).collect::<Vec<_>>())
            .bind(except.resting)
            .fetch_all(conn)
            .await
            .map_err(self.failed("fetch events of lanes"))?;
        let read = |row: &PgRow| -> sqlx::Result<(Found, i64)> {
            Ok((Found::read(row)?, row.try_get(row.len() - 1)?))
        };
        let mut part = Part::default();
        for row in &rows {
            let (found, all) = read(row).map_err(self.failed("read events of lanes"))?;
            part.bytes += found.bytes();
            part.is_cut = all > rows.len() as i64;
            part.found.push(found);
        }
        Ok(part)
    }
}

fn number(limit: u32) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

fn counts(found: &[Found]) -> HashMap<LaneId, u32> {
    let mut counts = HashMap::new();
    for found in found {
        *counts.entry(found.event.lane).or_default() += 1;
    }
    counts
}

/// Both kinds together, at most each lane's limit; and how far each lane has been read.
fn merged(lanes: &[LaneRead], part: Part, timed: Vec<Found>, proven: Option<i64>) -> LaneFetch {
    let Part { found, is_cut, .. } = part;
    let mut by_lane: HashMap<LaneId, (Vec<Found>, Vec<Found>)> = HashMap::with_capacity(lanes.len());
    for event in found {
        by_lane.entry(event.event.lane).or_default().0.push(event);
    }
    for event in timed {
        by_lane.entry(event.event.lane).or_default().1.push(event);
    }
    let mut fetch = LaneFetch::default();
    let mut reads: Vec<&LaneRead> = lanes.iter().collect();
    reads.sort_by_key(|read| read.lane);
    for read in reads {
        let (mut rows, timed) = by_lane.remove(&read.lane).unwrap_or_default();
        let limit = read.limit as usize;
        rows.sort_by_key(|found| found.event.seq);
        // what has no time of its own gives way to what has, of which there is little
        let room = limit.saturating_sub(timed.len());
        let is_limited = is_cut || rows.len() >= limit || rows.len() > room;
        // each kind of rows was read to the last that was returned of it
        let last_hot = rows.iter().rev().find(|found| !found.is_released).map(|found| found.event.seq);
        let is_for_one = room == 0 && !rows.is_empty();
        rows.truncate(room.max(usize::from(is_for_one)));
        let last_kept = rows.last().map(|found| found.event.seq);
        let read_to = if is_limited {
            last_kept.zip(last_hot).map(|(kept, hot)| kept.min(hot))
        } else {
            Some(i64::MAX)
        };
        if let (Some(proven), Some(read_to)) = (proven, read_to) {
            let bound = proven.min(read_to);
            if bound > read.above {
                fetch.bounds.insert(read.lane, bound);
            }
        }
        let mut events: Vec<LaneEvent> = rows.into_iter().chain(timed).map(|found| found.event).collect();
        events.sort_by_key(|event| event.seq);
        if is_for_one {
            fetch.bounds.remove(&read.lane);
            events.truncate(limit);
        }
        fetch.events.append(&mut events);
    }
    fetch
}
