-- Notes what became of events. Of an open breaker, only the holder of its trial is heard; without an outcome the trial is free again.
insert into {{omni_box_breakers}} as b (name, failures, open_until)
values ($1, $2, case when $2 >= $4 then {{clock}} + $5::interval end)
on conflict (name) do update set
    failures = case
        when b.open_until is not null and (b.trial = $6) is not true then b.failures
        when $3 then $2
        else least(b.failures::bigint + $2, 1000000000)::integer
    end,
    open_until = case
        when b.open_until is null and case when $3 then $2 else b.failures::bigint + $2 end >= $4 then {{clock}} + $5::interval
        when b.trial = $6 and $2 > 0 then {{clock}} + $5::interval
        when b.trial = $6 and $3 then null
        else b.open_until
    end,
    trial = case when b.trial = $6 then null else b.trial end,
    trial_until = case when b.trial = $6 then null else b.trial_until end
returning
    b.failures, b.open_until is not null,
    greatest((extract(epoch from b.open_until - {{clock}}) * 1000000)::bigint, 0)
