//! Samples and the states of circuit breakers, as statements tell them.

use std::time::Duration;

use omni_box_core::store::{BreakerState, Count, GroupSample, Sample};

use crate::Columns;

/// Reads a sample without its groups. First come lanes without a lease (null in another mode than `lanes`), and microseconds that the
/// oldest due event is due. Then come due events, whether there may be more of them, and about how many. Then come keys that wait for a
/// retry and for an operator, and whether there may be more of these. Last come microseconds since the creation of the oldest event that
/// holds a key, failed events, and microseconds of the oldest transaction.
///
/// # Errors
/// When the row has other columns.
pub fn sampled_outbox<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<Sample> {
    let mut sample = Sample::default();
    let outbox = &mut sample.outbox;
    outbox.unowned_lanes = row.optional_integer()?.map(number);
    outbox.oldest_due_age = row.optional_integer()?.map(age);
    let (backlog, is_capped) = (Count::of(number(row.integer()?)), row.boolean()?);
    outbox.backlog = capped(backlog, is_capped).about(number(row.integer()?));
    let (retrying, parked) = (number(row.integer()?), number(row.integer()?));
    let is_capped = row.boolean()?;
    outbox.retrying_keys = capped(Count::of(retrying), is_capped);
    outbox.parked_keys = capped(Count::of(parked), is_capped);
    outbox.oldest_held_age = row.optional_integer()?.map(age);
    outbox.failed = Count::of(number(row.integer()?));
    sample.oldest_transaction_age = row.optional_integer()?.map(age);
    Ok(sample)
}

/// Reads the sample of a group: its name, due messages, microseconds that the oldest is due, failed ones, those in quarantine.
///
/// # Errors
/// When the row has other columns.
pub fn sampled_group<'r>(row: &mut impl Columns<'r>) -> sqlx::Result<GroupSample> {
    let mut group = GroupSample::new(row.text()?);
    group.pending = Count::of(number(row.integer()?));
    group.oldest_pending_age = row.optional_integer()?.map(age);
    group.failed = Count::of(number(row.integer()?));
    group.quarantined = Count::of(number(row.integer()?));
    Ok(group)
}

/// The state of a circuit breaker: failures in a row, whether it is open, microseconds for which it stays so.
pub fn breaker_state(failures: i64, is_open: bool, rest: i64) -> BreakerState {
    match is_open {
        true => BreakerState::Open { rest: age(rest) },
        false => BreakerState::Closed { failures: u32::try_from(failures).unwrap_or(0) },
    }
}

fn capped(count: Count, is_capped: bool) -> Count {
    Count { is_exact: count.is_exact && !is_capped, ..count }
}

fn number(value: i64) -> u64 {
    value.max(0).cast_unsigned()
}

fn age(micros: i64) -> Duration {
    Duration::from_micros(number(micros))
}
