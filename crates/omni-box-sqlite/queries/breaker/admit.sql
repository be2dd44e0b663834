-- The trial of a breaker whose time is over.
update {{omni_box_breakers}} as b
set trial = ?2, trial_until = {{clock}} + ?3
where b.name = ?1 and b.open_until <= {{clock}} and (b.trial_until is null or b.trial_until <= {{clock}})
