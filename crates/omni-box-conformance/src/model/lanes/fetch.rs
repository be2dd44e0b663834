//! What a fetch may answer.

use std::collections::BTreeSet;

use omni_box_core::{Event as _, EventId, LaneEvent, LaneId, LaneRead};

use super::table::{Due, Held, Row, Table};
use crate::model::call::{Checked, mismatch};

/// How many bytes a fetch may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Ample,
    /// For one event.
    One,
}

impl Room {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Ample => 64 << 20,
            Self::One => 1,
        }
    }
}

impl Table {
    /// Judges the answer to a fetch, and learns from it what is the store's choice.
    pub(super) fn check_fetch(
        &mut self,
        reads: &[LaneRead],
        in_flight: &[EventId],
        room: Room,
        answer: &[LaneEvent],
    ) -> Checked {
        for read in answer {
            self.learn(read)?;
        }
        let asked: BTreeSet<LaneId> = reads.iter().map(|read| read.lane).collect();
        if let Some(read) = answer.iter().find(|read| !asked.contains(&read.lane)) {
            return mismatch(format!("lane {} was not asked for", read.lane));
        }
        if let Some(read) = answer.iter().find(|read| in_flight.contains(&read.event.id())) {
            return mismatch(format!("{} is in flight, but was read", self.name(read)));
        }
        if room == Room::One && answer.len() > reads.len() {
            return mismatch(format!("{} events were read where there was room for one", answer.len()));
        }
        // keys in limbo of which something may be published: all of it may be
        let freed: BTreeSet<usize> = answer
            .iter()
            .filter(|read| !read.is_behind_head)
            .filter_map(|read| self.row(read.event.id()).filter(|row| self.due(row) == Due::Limbo)?.key)
            .collect();
        let mut due_somewhere = None;
        for LaneRead { lane, limit, .. } in reads {
            let of_lane: Vec<&LaneEvent> = answer.iter().filter(|read| read.lane == *lane).collect();
            if of_lane.len() > *limit as usize {
                return mismatch(format!(
                    "{} events of lane {lane} were read, at most {limit} may be",
                    of_lane.len()
                ));
            }
            self.check_order(*lane, &of_lane)?;
            for read in &of_lane {
                self.check_flags(read, &freed)?;
            }
            let is_full = of_lane.len() == *limit as usize;
            let missing = self.rows.iter().filter(|row| {
                row.lane == Some(*lane)
                    && !in_flight.contains(&row.id())
                    && !of_lane.iter().any(|read| read.event.id() == row.id())
                    && match self.due(row) {
                        Due::Yes { .. } => true,
                        Due::Limbo => row.key.is_some_and(|key| freed.contains(&key)),
                        Due::No | Due::Behind => false,
                    }
            });
            for row in missing {
                due_somewhere = Some(&row.name);
                if !is_full && room == Room::Ample {
                    return mismatch(format!("{} is due in lane {lane}, but was not read", row.name));
                }
                if Self::has_time(row) {
                    continue;
                }
                let later = of_lane
                    .iter()
                    .filter(|read| self.row(read.event.id()).is_none_or(|other| !Self::has_time(other)));
                let later = later.into_iter().find(|read| {
                    row.seq.is_some_and(|seq| seq < read.seq)
                        || self.row(read.event.id()).is_some_and(|other| row.is_before(other))
                });
                if let Some(later) = later {
                    return mismatch(format!(
                        "{} is due in lane {lane} and was stepped over: {} was read",
                        row.name,
                        self.name(later)
                    ));
                }
            }
        }
        match due_somewhere {
            Some(name) if answer.is_empty() => mismatch(format!("{name} is due, but nothing was read")),
            _ => Ok(()),
        }
    }

    /// Whether an event has a time of its own. The store chooses how many of those share a limit with the others, and which. Each is alone
    /// in its key, or joins it only now.
    fn has_time(row: &Row) -> bool {
        matches!(row.held, Held::Head(_)) || row.scheduled.is_some()
    }

    fn name(&self, read: &LaneEvent) -> String {
        self.row(read.event.id()).map_or_else(|| "an unknown event".into(), |row| row.name.clone())
    }

    /// Compares an event with its row, and notes its `seq` and lane.
    fn learn(&mut self, read: &LaneEvent) -> Checked {
        let Some(row) = self.rows.iter_mut().find(|row| row.id() == read.event.id()) else {
            return mismatch(format!("{} was read, but has not committed", read.event.id()));
        };
        let name = &row.name;
        match row.seq {
            Some(seq) if seq != read.seq => {
                return mismatch(format!("{name} has seq {} after {seq}", read.seq));
            }
            _ => row.seq = Some(read.seq),
        }
        match row.lane {
            Some(lane) if lane != read.lane => {
                return mismatch(format!("{name} is in lane {} after {lane}", read.lane));
            }
            _ => row.lane = Some(read.lane),
        }
        row.compare(&read.event)
    }

    fn check_order(&self, lane: LaneId, of_lane: &[&LaneEvent]) -> Checked {
        if !of_lane.is_sorted_by(|a, b| a.seq < b.seq) {
            return mismatch(format!("lane {lane} was not read in the order of seq"));
        }
        let rows: Vec<&Row> = of_lane.iter().filter_map(|read| self.row(read.event.id())).collect();
        for (place, later) in rows.iter().enumerate() {
            if let Some(earlier) = rows[..place].iter().find(|earlier| later.is_before(earlier)) {
                return mismatch(format!("{} comes before {} in lane {lane}", earlier.name, later.name));
            }
        }
        Ok(())
    }

    fn check_flags(&self, read: &LaneEvent, freed: &BTreeSet<usize>) -> Checked {
        let Some(row) = self.row(read.event.id()) else { return Ok(()) };
        let flags = (read.is_held_head, read.is_behind_head);
        let is_right = match self.due(row) {
            Due::No => return mismatch(format!("{} is not due, but was read", row.name)),
            // without a key there is no held key to be the head of
            Due::Yes { is_head } => {
                !read.is_behind_head && (read.is_held_head == is_head || row.key.is_none())
            }
            Due::Behind => flags == (false, true),
            Due::Limbo if row.key.is_some_and(|key| freed.contains(&key)) => flags == (false, false),
            Due::Limbo => flags == (false, true),
        };
        if is_right {
            return Ok(());
        }
        mismatch(format!(
            "{} was read with is_held_head={} and is_behind_head={}, and is {:?}",
            row.name,
            read.is_held_head,
            read.is_behind_head,
            self.due(row)
        ))
    }
}
