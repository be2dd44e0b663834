-- Notes what became of events. Of an open breaker, only the holder of its trial is heard; without an outcome the trial is free again.
insert into {{omni_box_breakers}} as b (name, failures, open_until)
values (?1, ?2, case when ?2 >= ?4 then {{clock}} + ?5 end)
on conflict (name) do update set
    failures = case
        when b.open_until is not null and (b.trial = ?6) is not true then b.failures
        when ?3 then ?2
        else min(b.failures + ?2, 1000000000)
    end,
    open_until = case
        when b.open_until is null and case when ?3 then ?2 else b.failures + ?2 end >= ?4 then {{clock}} + ?5
        when b.trial = ?6 and ?2 > 0 then {{clock}} + ?5
        when b.trial = ?6 and ?3 then null
        else b.open_until
    end,
    trial = case when b.trial = ?6 then null else b.trial end,
    trial_until = case when b.trial = ?6 then null else b.trial_until end
returning failures, open_until is not null, max(coalesce(open_until - {{clock}}, 0), 0), 0
