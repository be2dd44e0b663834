-- What is known of a breaker; last, whether its trial is free.
select
    b.failures, b.open_until is not null, max(coalesce(b.open_until - {{clock}}, 0), 0),
    b.open_until <= {{clock}} and (b.trial_until is null or b.trial_until <= {{clock}})
from {{omni_box_breakers}} b
where b.name = ?1
