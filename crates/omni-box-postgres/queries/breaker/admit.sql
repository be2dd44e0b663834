-- What a breaker lets through. The time of an open one that is over leaves a trial to the first that asks; of two at once, the second finds
-- the trial taken.
with taken as (
    update {{omni_box_breakers}} b
    set trial = $2, trial_until = {{clock}} + $3::interval
    where b.name = $1 and b.open_until <= {{clock}} and (b.trial_until is null or b.trial_until <= {{clock}})
    returning b.name
)
select
    b.failures, b.open_until is not null,
    greatest((extract(epoch from b.open_until - {{clock}}) * 1000000)::bigint, 0),
    exists (select from taken)
from {{omni_box_breakers}} b
where b.name = $1
